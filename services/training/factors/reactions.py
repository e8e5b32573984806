"""Readers' reactions to posts, as arrays."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from slop.v1.signal_pb2 import Signal
from training.factors.decisions import DecidedPost, Decisions, Says

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]

MOST_DECISIONS: Final = 1_500_000  # about a gigabyte while they are read
MOST_WEIGHT: Final = 6.0  # of a reader's reaction to a post; a rating's weight, the largest of one decision


@dataclass(frozen=True, slots=True)
class Reactions:
    """Readers' reactions to posts in the order they came, one entry each; a reader reacts to a post once.

    Attributes:
        readers: (R,) indices of readers.
        posts: (R,) indices of posts.
        values: (R,) float64 in [-1, 1].
        weights: (R,) float64, all > 0.
        keys: the N posts' keys.
        text_features: (N, T) float64 of the posts.
    """

    readers: Integers
    posts: Integers
    values: Doubles
    weights: Doubles
    keys: Sequence[str]
    text_features: Doubles

    @property
    def reader_count(self) -> int:
        """U: one more than the largest index of a reader."""
        return int(self.readers.max(initial=-1)) + 1

    def of_readers(self, chosen: npt.NDArray[np.bool_]) -> "Reactions":
        """Those of some readers alone, who keep their indices; `chosen` is (reader_count,)."""
        return self._some(chosen[self.readers])

    def of_posts(self, chosen: npt.NDArray[np.bool_]) -> "Reactions":
        """Those to some posts alone, which get new indices; `chosen` is (N,)."""
        some, numbers = self._some(chosen[self.posts]), np.cumsum(chosen) - 1
        keys = [key for key, kept in zip(self.keys, chosen.tolist(), strict=True) if kept]
        return replace(some, posts=numbers[some.posts], keys=keys, text_features=self.text_features[chosen])

    def _some(self, kept: npt.NDArray[np.bool_]) -> "Reactions":
        return replace(
            self,
            readers=self.readers[kept],
            posts=self.posts[kept],
            values=self.values[kept],
            weights=self.weights[kept],
        )

    def matrix(self, values: Doubles) -> csr_matrix:
        """(reader_count, N) with one of `values`, (R,), for each reaction."""
        return csr_matrix((values, (self.readers, self.posts)), shape=(self.reader_count, len(self.keys)))


def reactions_of(signals: Iterable[Signal], text_size: int, most: int = MOST_DECISIONS) -> Reactions:
    """Reactions from signals: one for each reader and post, which sums up the decisions that hold.

    Of decisions on the same thing the latest counts; a withdrawn one does not. A signal that was written twice, or an
    event that was sent again, counts once. A reaction's weight is at most MOST_WEIGHT.

    Args:
        signals: of one basis, in the order of the log.
        text_size: T, how many of a signal's features are its post's text features.
        most: decisions kept, so that a long log does not exhaust the memory (see `Decisions`).
    """
    decisions = Decisions(most)
    for signal in signals:
        decisions.take(signal, text_size)
    return _arrays(decisions.standing(), text_size)


def _arrays(readers: Iterable[Mapping[DecidedPost, Says]], text_size: int) -> Reactions:
    posts: dict[DecidedPost, int] = {}
    rows = [
        (reader, posts.setdefault(post, len(posts)), says.total / says.weight, min(says.weight, MOST_WEIGHT))
        for reader, said in enumerate(readers)
        for post, says in said.items()
    ]
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    return Reactions(
        readers=table[:, 0].astype(np.intp),
        posts=table[:, 1].astype(np.intp),
        values=table[:, 2],
        weights=table[:, 3],
        keys=tuple(post.key for post in posts),
        text_features=np.array([post.text_features for post in posts], np.float64).reshape(-1, text_size),
    )
