"""Vectors of posts by who likes them: posts that the same readers like lie together, whatever their text is."""

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from sklearn.preprocessing import normalize
from sklearn.utils.extmath import randomized_svd

from training.factors.reactions import Doubles, Integers, Reactions

Floats = npt.NDArray[np.float32]

COMPONENTS: Final = 32
FEWEST_REACTIONS: Final = 3  # readers who reacted to a post; with fewer its vector is zero
NOTHING: Final = 1e-9


def engagement_of(reactions: Reactions, seed: int) -> Floats | None:
    """Vectors of posts by a truncated SVD of readers' preferences, which are reactions beyond the usual.

    Args:
        reactions: to N posts; a reader may have several to one post. Text features are not used.
        seed: of the SVD.

    Returns:
        (N, C) float32, C at most COMPONENTS: rows of unit norm, zero for posts with reactions of fewer than
        FEWEST_REACTIONS readers; None if there are only such posts.
    """
    enough = readers_each(reactions) >= FEWEST_REACTIONS
    engaged = reactions.of_posts(enough)
    if not len(engaged.values):
        return None
    preferences = _preferences(engaged)
    size = min(COMPONENTS, *preferences.shape)
    _, strengths, directions = randomized_svd(preferences, size, random_state=seed)
    places = directions.T * strengths
    places[np.linalg.norm(places, axis=1) < NOTHING] = 0
    vectors = np.zeros((len(enough), size), np.float32)
    vectors[enough] = normalize(places)
    return vectors


def readers_each(reactions: Reactions) -> Integers:
    """(N,) how many readers reacted to each post."""
    readers: Integers = np.diff(reactions.matrix(reactions.weights).tocsc().indptr)
    return readers


def _preferences(reactions: Reactions) -> csr_matrix:
    """(readers, N) reactions less the reader's and the post's mean, both means shrunk towards 0.

    A reaction of weight w counts w / (1 + w). Rows and columns are divided by about their norms, so that readers and
    posts with many reactions count little more than others.
    """
    weights = reactions.matrix(reactions.weights)
    values: Doubles = reactions.matrix(reactions.weights * reactions.values).data / weights.data
    sure = weights.data / (1 + weights.data)
    posts = weights.indices
    readers = np.repeat(np.arange(weights.shape[0]), np.diff(weights.indptr))
    for of in (readers, posts):
        values = values - (_sums(sure * values, of) / (1 + _sums(sure, of)))[of]
    surplus = sure * values
    norms = [np.sqrt(1 + _sums(surplus**2, of))[of] for of in (readers, posts)]
    return csr_matrix((surplus / norms[0] / norms[1], (readers, posts)), weights.shape)


def _sums(values: Doubles, groups: Integers) -> Doubles:
    return np.bincount(groups, values).astype(np.float64)
