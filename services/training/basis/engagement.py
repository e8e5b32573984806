"""What posts have in common by who likes them: posts that the same readers like lie together, whatever they say."""

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from sklearn.preprocessing import normalize
from sklearn.utils.extmath import randomized_svd

from training.factors.reactions import Doubles, Integers, Reactions

Floats = npt.NDArray[np.float32]

COMPONENTS: Final = 32
FEWEST_REACTIONS: Final = 3  # of different readers to a post, else nothing is said of it
NOTHING: Final = 1e-9


def engagement_of(reactions: Reactions, seed: int) -> Floats | None:
    """Where posts lie by readers' reactions: a truncated SVD of who liked what more than could be expected.

    Args:
        reactions: to N posts; of a reader to the same post there may be several. Their text features are not looked at.
        seed: of the SVD.

    Returns:
        (N, C) float32, C at most COMPONENTS: rows of unit norm, or zero where a post has too few reactions; None if
        all have.
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
    """(readers, N): reactions beyond the reader's and the post's mean, as far as they are sure.

    Readers and posts with many reactions count little more than others.
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
