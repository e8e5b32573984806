"""What readers made of posts, as arrays."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from slop.posts import PostRef
from slop.storage import User
from slop.v1.signal_pb2 import Signal

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]

MOST_REACTIONS: Final = 1_500_000  # about a gigabyte while they are read


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
        """How many readers there are, at most."""
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


def reactions_of(signals: Iterable[Signal], text_size: int, most: int = MOST_REACTIONS) -> Reactions:
    """Reactions from signals in the order of the log; signals of a reader to the same post are one reaction.

    Args:
        signals: of one basis; a signal that was written twice, or an event that was sent again, counts once.
        text_size: T, how many of a signal's features are its post's text features.
        most: reactions kept, the latest, so that a long log does not exhaust the memory.
    """
    users: dict[User, int] = {}
    posts: dict[str, int] = {}
    texts: list[npt.NDArray[np.float32]] = []
    sums: OrderedDict[tuple[int, int], tuple[float, float]] = OrderedDict()
    seen: set[int] = set()
    for signal in signals:
        user = users.setdefault(User(signal.tenant, signal.user_id), len(users))
        event = _digest(user, signal.event_id)
        if event in seen or signal.weight <= 0:
            continue
        seen.add(event)
        post = posts.setdefault(PostRef(signal.tenant, signal.post_id).key, len(posts))
        if post == len(texts):
            texts.append(np.array(signal.features[:text_size], np.float32))
        weight, total = sums.pop((user, post), (0.0, 0.0))
        sums[user, post] = weight + signal.weight, total + signal.weight * (2 * signal.label - 1)
        if len(sums) > most:
            sums.popitem(last=False)
    return _arrays(sums, tuple(posts), texts, text_size)


def _digest(user: int, event_id: str) -> int:
    """Eight bytes that stand for an event, where its id would take a hundred."""
    return int.from_bytes(blake2b(f"{user} {event_id}".encode(), digest_size=8).digest(), "big")


def _arrays(
    sums: Mapping[tuple[int, int], tuple[float, float]],
    keys: Sequence[str],
    texts: Sequence[npt.NDArray[np.float32]],
    text_size: int,
) -> Reactions:
    pairs = np.array(list(sums), dtype=np.intp).reshape(-1, 2)
    weighted = np.array(list(sums.values()), dtype=np.float64).reshape(-1, 2)
    return Reactions(
        readers=pairs[:, 0],
        posts=pairs[:, 1],
        values=weighted[:, 1] / weighted[:, 0],
        weights=weighted[:, 0],
        keys=keys,
        text_features=np.array(texts, np.float64).reshape(-1, text_size),
    )
