"""Choosing some of the posts that were written: the most to a reader's taste, and not all of them alike.

Maximal marginal relevance (Carbonell and Goldstein 1998, "The use of MMR, diversity-based reranking for reordering
documents and producing summaries", SIGIR): of what is left the candidate i is taken for which
(1 - d) relevance_i - d max_j cos(i, j) is largest, over the j that were taken before. Their lambda is 1 - d.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


def select(
    scores: npt.ArrayLike, embeddings: Floats, groups: npt.ArrayLike, places: npt.ArrayLike, diversity: float
) -> Indices:
    """Choose among candidates, of which those of one group compete for the group's places.

    The relevance of a candidate is its score, brought to [0, 1] within its group. Its likeness is to all that were
    chosen, of whichever group.

    Args:
        scores: (N,), higher is better.
        embeddings: (N, E) float32, of unit norm or zeros.
        groups: (N,) the group of each candidate, from 0 to G - 1.
        places: (G,) how many of each group are chosen; all of a group that has fewer.
        diversity: d, from 0, the best by their scores alone, to 1, the least alike.

    Returns:
        indices of candidates in the order in which they were chosen. Of equals the first one is taken.

    Raises:
        ValueError: a score or an embedding is not finite, the shapes do not fit, or d is not from 0 to 1.
    """
    values, group_of, left = np.asarray(scores, np.float64), np.asarray(groups, np.intp), np.array(places, np.intp)
    if values.ndim != 1 or not len(values) == len(embeddings) == len(group_of):
        raise ValueError(f"{values.shape} scores, {np.shape(embeddings)} embeddings, {group_of.shape} groups")
    if not (np.isfinite(values).all() and np.isfinite(embeddings).all() and 0 <= diversity <= 1):
        raise ValueError("scores, embeddings or the diversity are not usable numbers")
    relevance, rows = _relevance(values, group_of, len(left)), np.asarray(embeddings, np.float64)
    is_open = left[group_of] > 0
    likeness = np.full(len(values), -np.inf)
    chosen: list[int] = []
    while is_open.any():
        marginal = (1 - diversity) * relevance - (diversity * likeness if chosen and diversity else 0)
        best = int(np.where(is_open, marginal, -np.inf).argmax())
        chosen.append(best)
        left[group_of[best]] -= 1
        is_open[best] = False
        is_open &= left[group_of] > 0
        likeness = np.maximum(likeness, rows @ rows[best])
    return np.array(chosen, np.intp)


def _relevance(scores: Doubles, groups: Indices, count: int) -> Doubles:
    """(N,) scores from 0 to 1 within each of `count` groups; 0 where all of a group are equal."""
    relevance = np.zeros_like(scores)
    for group in range(count):
        there = groups == group
        if there.any() and (spread := float(np.ptp(scores[there]))) > 0:
            relevance[there] = (scores[there] - scores[there].min()) / spread
    return relevance
