"""Clusters of taste: k-means with guards, and the words that describe a cluster."""

from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.feature_extraction.text import TfidfVectorizer

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.intp]

LARGEST: Final = 2.5  # a cluster of more than so many times the mean size is split
WORD: Final = r"[A-Za-z]{3,}"
SMALLEST: Final = 20  # a cluster of fewer posts is dissolved;
FEW: Final = 8  # where engagement is known, one of fewer than these


def initial_clusters(space: Floats, count: int, seed: int, *, ward: bool = False, smallest: int = SMALLEST) -> Labels:
    """k-means in the clustering space, no cluster over LARGEST times the mean or under `smallest` posts.

    Args:
        space: (N, D).
        count: of clusters.
        seed: of everything random.
        ward: begin from the means of Ward's hierarchical clusters (1963, JASA 58), not from the best of ten draws.
        smallest: posts in a cluster, at least.

    Returns:
        (N,) labels.
    """
    if ward:
        first = AgglomerativeClustering(count).fit(space).labels_.astype(np.intp)
        found = KMeans(count, init=centers_of(space, first, count), n_init=1, random_state=seed).fit(space)
    else:
        found = KMeans(count, n_init=10, random_state=seed).fit(space)
    return guarded(space, found.labels_.astype(np.intp), count, seed, smallest)


def guarded(space: Floats, labels: Labels, count: int, seed: int, smallest: int = SMALLEST) -> Labels:
    """Dissolve clusters that are empty or too small into their neighbours, and split the largest in their stead."""
    labels, smallest = labels.copy(), min(smallest, len(labels) // (2 * count))
    for _ in range(count):
        sizes = np.bincount(labels, minlength=count)
        small, large = int(sizes.argmin()), int(sizes.argmax())
        if sizes[small] >= smallest and sizes[large] <= LARGEST * len(labels) / count:
            break
        _dissolve(space, labels, small, count)
        members = np.flatnonzero(labels == large)
        halves = KMeans(2, n_init=4, random_state=seed).fit(space[members]).labels_
        labels[members[halves == 1]] = small
    return labels


def _dissolve(space: Floats, labels: Labels, cluster: int, count: int) -> None:
    members = np.flatnonzero(labels == cluster)
    if members.size:
        distances = distances_to(space[members], centers_of(space, labels, count))
        distances[:, cluster] = np.inf
        labels[members] = distances.argmin(axis=1)


def centers_of(space: Floats, labels: Labels, count: int) -> Floats:
    """(count, D) means of the clusters; infinitely far where a cluster has no member."""
    centers = np.full((count, space.shape[1]), np.inf, dtype=np.float32)
    for cluster in np.unique(labels):
        centers[cluster] = space[labels == cluster].mean(axis=0)
    return centers


def distances_to(space: Floats, centers: Floats) -> Floats:
    """(N, K) Euclidean distances."""
    distances: Floats = np.sqrt(((space[:, None, :] - centers[None]) ** 2).sum(axis=2))
    return distances


def nearest_clusters(space: Floats, labels: Labels, count: int, nearest: int) -> npt.NDArray[np.bool_]:
    """(N, K) candidates of every post: its `nearest` clusters and its own."""
    distances = distances_to(space, centers_of(space, labels, count))
    candidates = distances.argsort(axis=1).argsort(axis=1) < nearest
    candidates[np.arange(len(labels)), labels] = True
    return candidates


def cluster_words(posts: list[str], labels: Labels, count: int, words: int) -> list[list[str]]:
    """The words most typical of every cluster by tf-idf over clusters, most typical first."""
    documents = [" ".join(post for post, label in zip(posts, labels, strict=True) if label == k) for k in range(count)]
    vectorizer = TfidfVectorizer(sublinear_tf=True, stop_words="english", token_pattern=WORD, max_df=0.5)
    weights = vectorizer.fit_transform(documents).toarray()
    names = vectorizer.get_feature_names_out()
    return [[str(names[i]) for i in row.argsort()[::-1][:words]] for row in weights]
