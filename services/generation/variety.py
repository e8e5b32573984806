"""How varied the posts of each arm are, so that a basis that makes feeds monotonous is noticed."""

from collections.abc import Iterable
from typing import Final

from generation import metrics
from slop.arms import Arm
from slop.variety import RecentPosts

POSTS: Final = 200


class Variety:
    """Sets the metric of each arm: the distinct-2 of its last POSTS posts."""

    def __init__(self) -> None:
        self._posts = {arm: RecentPosts(POSTS) for arm in Arm}
        for arm, posts in self._posts.items():
            metrics.DISTINCT2.labels(arm).set_function(posts.distinct2)

    def add(self, arm: Arm, texts: Iterable[str]) -> None:
        """Count new posts of an arm."""
        for text in texts:
            self._posts[arm].add(text)
