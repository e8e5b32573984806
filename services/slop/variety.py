"""Distinct-2, a measure of variety: different word pairs by all word pairs (Li et al. 2016, arXiv 1510.03055)."""

import re
from collections import Counter, deque
from itertools import pairwise

Pair = tuple[str, str]


def word_pairs(text: str) -> list[Pair]:
    """Pairs of neighbouring words, in lower case."""
    return list(pairwise(re.findall(r"\w+", text.lower())))


class RecentPosts:
    """The word pairs of the last `most` posts, counted as posts come and go."""

    def __init__(self, most: int) -> None:
        self._most, self._posts = most, deque[list[Pair]]()
        self._counts: Counter[Pair] = Counter()

    def add(self, text: str) -> None:
        """Take a post in; the oldest one leaves where there are too many."""
        self._posts.append(word_pairs(text))
        self._counts.update(self._posts[-1])
        if len(self._posts) > self._most:
            self._forget(self._posts.popleft())

    def _forget(self, pairs: list[Pair]) -> None:
        self._counts.subtract(pairs)
        for pair in pairs:
            if not self._counts[pair]:
                del self._counts[pair]

    def distinct2(self) -> float:
        """Different pairs by all pairs; 0 where there is none."""
        return len(self._counts) / self._counts.total() if self._counts else 0.0
