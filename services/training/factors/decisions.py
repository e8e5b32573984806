"""The decisions that hold: of each reader on each thing the latest, in bounded memory."""

from collections import OrderedDict
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

from slop.redis.posts import PostRef
from slop.redis.profiles import User
from slop.signals import signal_digest
from slop.v1.signal_pb2 import Signal

T = TypeVar("T")

MOST_OF_A_READER: Final = 2_000  # latest decisions of a reader that are kept
FEWEST_OF_A_READER: Final = 8  # that are kept of a reader while there is room; then whole readers are dropped
MOST_EVENTS: Final = 512  # latest events of a reader that are remembered, to know retries


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class DecidedPost:
    """A post with decisions on it: its key, and its text features, (T,) float32."""

    key: str
    text_features: npt.NDArray[np.float32]


class Says(NamedTuple):
    """A reader's decisions on a post together: the sum of weights, and the weighted sum of values in [-1, 1]."""

    weight: float
    total: float


class _Decision(NamedTuple):
    """The latest decision on a thing; one that was withdrawn has weight 0."""

    post: DecidedPost
    decided_at_ms: int
    weight: float
    value: float


@dataclass(slots=True)
class _Reader:
    """A reader's decisions by their digests, and digests of events, the latest last."""

    decisions: dict[int, _Decision] = field(default_factory=dict)
    events: dict[int, None] = field(default_factory=dict)


class Decisions:
    """Takes signals in the order of the log.

    There is room for `most` decisions. When it is full, readers with the most decisions lose their oldest ones, so that
    nobody displaces others by deciding much. Then readers are dropped, those silent the longest first.
    """

    def __init__(self, most: int) -> None:
        self._most, self._of_a_reader = most, MOST_OF_A_READER
        self._readers: OrderedDict[User, _Reader] = OrderedDict()
        self._posts: MutableMapping[str, DecidedPost] = WeakValueDictionary()
        self._count = 0

    def take(self, signal: Signal, text_size: int) -> None:
        """Take the next signal, whose first `text_size` features are those of its post's text."""
        user = User(signal.tenant, signal.user_id)
        reader = self._readers.setdefault(user, _Reader())
        self._readers.move_to_end(user)
        event = int.from_bytes(signal_digest(signal), "little")
        if event in reader.events:
            return
        reader.events[event] = None
        _trim(reader.events, MOST_EVENTS)
        decision = signal.decision or event
        held = reader.decisions.get(decision)
        if held is not None and signal.decided_at_ms < held.decided_at_ms:
            return
        self._count -= len(reader.decisions)
        reader.decisions.pop(decision, None)
        weight = 0.0 if signal.withdraws else signal.weight
        post = self._post(signal, text_size)
        reader.decisions[decision] = _Decision(post, signal.decided_at_ms, weight, 2 * signal.label - 1)
        _trim(reader.decisions, self._of_a_reader)
        self._count += len(reader.decisions)
        self._make_room()

    def standing(self) -> Iterator[dict[DecidedPost, Says]]:
        """For each reader with decisions that hold, their sums by post, the latest decided post at the end."""
        for reader in self._readers.values():
            said: dict[DecidedPost, Says] = {}
            for post, _, weight, value in reader.decisions.values():
                if weight > 0:
                    before = said.pop(post, Says(0.0, 0.0))
                    said[post] = Says(before.weight + weight, before.total + weight * value)
            if said:
                yield said

    def _post(self, signal: Signal, text_size: int) -> DecidedPost:
        key = PostRef(signal.tenant, signal.post_id).key
        post = self._posts.get(key)
        if post is None:
            post = self._posts[key] = DecidedPost(key, np.array(signal.features[:text_size], np.float32))
        return post

    def _make_room(self) -> None:
        while self._count > self._most and self._of_a_reader > FEWEST_OF_A_READER:
            self._of_a_reader //= 2
            for reader in self._readers.values():
                _trim(reader.decisions, self._of_a_reader)
            self._count = sum(len(reader.decisions) for reader in self._readers.values())
        while self._count > self._most:
            _, silent = self._readers.popitem(last=False)
            self._count -= len(silent.decisions)


def _trim(items: dict[int, T], most: int) -> None:
    """Keep the last `most` items."""
    while len(items) > most:
        del items[next(iter(items))]
