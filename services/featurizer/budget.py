"""How many posts are computed while everybody's reactions wait: few for all, fewer for one reader."""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from slop.redis.posts import PostRef

LONG: Final = 1_000  # characters that cost as much again as a post of usual length


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What one batch may take of the time in which all wait for it.

    Attributes:
        posts: whose features are computed for one batch.
        posts_of_reader: the same, for one reader's interactions in it.
        late_ms: interactions that were received so long ago count for neither: the log is being caught up with.
    """

    posts: int
    posts_of_reader: int
    late_ms: int


class Wanted(NamedTuple):
    """A post without features that a reader's interaction waits for.

    Attributes:
        reader: whose interaction it is.
        post: which post.
        cost: in posts of usual length.
    """

    reader: str
    post: PostRef
    cost: int = 1


def cost_of(text: str) -> int:
    """What encoding a text costs, in posts of usual length."""
    return 1 + len(text) // LONG


class Budget:
    """Of one batch of interactions."""

    def __init__(self, posts: int, of_reader: int) -> None:
        """So many posts in all, and for any one reader."""
        self._left, self._of_reader = posts, of_reader
        self._spent: Counter[str] = Counter()

    def allot(self, wanted: Iterable[Wanted]) -> set[PostRef]:
        """The posts to compute of those that are wanted: of every reader the first, then the second, and so on."""
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
    """Take the first that is not allotted yet and costs at most so much."""
    while posts:
        one = posts.popleft()
        if one.cost <= most and one.post not in allotted:
            return one
    return None
