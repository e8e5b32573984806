"""Distinct-2, a measure of the variety of posts: the number of distinct word pairs divided by that of all word pairs.

Li et al. 2016, "A diversity-promoting objective function for neural conversation models", arXiv 1510.03055; theirs is
divided by the number of words.
"""

import re
from collections import Counter, deque
from itertools import pairwise

Pair = tuple[str, str]


def word_pairs(text: str) -> list[Pair]:
    """Pairs of neighbouring words, in lower case."""
    return list(pairwise(re.findall(r"\w+", text.lower())))


class RecentPosts:
    """Distinct-2 of the last `most` posts, updated with each post."""

    def __init__(self, most: int) -> None:
        self._most, self._posts = most, deque[list[Pair]]()
        self._counts: Counter[Pair] = Counter()

    def add(self, text: str) -> None:
        """Add a post, and drop the oldest one if there are more than `most`."""
        self._posts.append(word_pairs(text))
        self._counts.update(self._posts[-1])
        if len(self._posts) > self._most:
            self._drop(self._posts.popleft())

    def _drop(self, pairs: list[Pair]) -> None:
        self._counts.subtract(pairs)
        for pair in pairs:
            if not self._counts[pair]:
                del self._counts[pair]

    def distinct2(self) -> float:
        """Distinct pairs divided by all pairs, in [0, 1]; 0 if there are none."""
        return len(self._counts) / self._counts.total() if self._counts else 0.0
