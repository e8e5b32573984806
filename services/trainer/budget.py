"""How many posts are computed while everybody's reactions wait: few for all, fewer for one reader."""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass

from slop.posts import PostRef


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


class Budget:
    """Of one batch of interactions."""

    def __init__(self, posts: int, of_reader: int) -> None:
        """So many posts in all, and for any one reader."""
        self._left, self._of_reader = posts, of_reader
        self._spent: Counter[str] = Counter()

    def allot(self, asked: Iterable[tuple[str, PostRef]]) -> set[PostRef]:
        """The posts to compute of those that readers ask for: of every reader the first, then the second, and so on."""
        waiting: dict[str, deque[PostRef]] = {}
        for reader, post in asked:
            waiting.setdefault(reader, deque()).append(post)
        allotted: set[PostRef] = set()
        while waiting and self._left:
            for reader, posts in list(waiting.items()):
                chosen = _first(posts, allotted) if self._left and self._spent[reader] < self._of_reader else None
                if chosen is None:
                    del waiting[reader]
                else:
                    allotted.add(chosen)
                    self._spent[reader] += 1
                    self._left -= 1
        return allotted


def _first(posts: deque[PostRef], allotted: set[PostRef]) -> PostRef | None:
    """Take the first that is not allotted yet."""
    while posts:
        if (post := posts.popleft()) not in allotted:
            return post
    return None
