"""How many posts have their features computed while a batch of interactions waits: few, and fewer for one reader."""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from slop.redis.posts import PostRef

LONG: Final = 1_000  # so many characters cost as much as one post of usual length


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Limits on the posts whose features are computed while a batch of interactions waits.

    Attributes:
        posts: how many for one batch, in posts of usual length.
        posts_of_reader: how many for the interactions of one reader in it.
        late_ms: posts of interactions that were received longer ago are computed without limit, in milliseconds: then
            the lane is catching up with the log.
    """

    posts: int
    posts_of_reader: int
    late_ms: int


class Wanted(NamedTuple):
    """A post without features, and the reader of an interaction that waits for them.

    Attributes:
        reader: key of the reader.
        post: that has no features.
        cost: of computing them, in posts of usual length.
    """

    reader: str
    post: PostRef
    cost: int = 1


def cost_of(text: str) -> int:
    """The cost of encoding a text, in posts of usual length, at least 1."""
    return 1 + len(text) // LONG


class Budget:
    """The posts whose features may still be computed for one batch of interactions."""

    def __init__(self, posts: int, of_reader: int) -> None:
        """A budget of so many posts of usual length, and of so many for each reader."""
        self._left, self._of_reader = posts, of_reader
        self._spent: Counter[str] = Counter()

    def allot(self, wanted: Iterable[Wanted]) -> set[PostRef]:
        """Choose posts within the budget: the first post of each reader, then the second of each, and so on."""
        waiting: dict[str, deque[Wanted]] = {}
        for one in wanted:
            waiting.setdefault(one.reader, deque()).append(one)
        allotted: set[PostRef] = set()
        while waiting:
            for reader, posts in list(waiting.items()):
                chosen = _first(posts, allotted, min(self._left, self._of_reader - self._spent[reader]))
                if chosen is None:
                    del waiting[reader]
                else:
                    allotted.add(chosen.post)
                    self._spent[reader] += chosen.cost
                    self._left -= chosen.cost
        return allotted


def _first(posts: deque[Wanted], allotted: set[PostRef], most: int) -> Wanted | None:
    """Take posts from the queue until one is not allotted yet and costs at most `most`; None if there is none."""
    while posts:
        one = posts.popleft()
        if one.cost <= most and one.post not in allotted:
            return one
    return None
