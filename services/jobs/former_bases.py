"""Deleting what was learned under a basis that nobody goes back to."""

from collections.abc import Callable, Iterator
from contextlib import closing

from kafka.errors import KafkaError
from redis import Redis

from jobs.catching_up import Say
from jobs.settings import JobsSettings
from slop.basis import Basis, InvalidBasis
from slop.kafka.group_lag import GroupLag
from slop.kafka.topics import INTERACTIONS, POSTS, SIGNALS
from slop.redis.posts import delete_features
from slop.redis.profiles import delete_profiles
from slop.rollout.live import BasisRef, LiveBases, groups_of


class FormerBases:
    """Deletes profiles and features under bases that are live no more. It keeps the rollout's lock meanwhile."""

    def __init__(self, settings: JobsSettings, redis: Redis, live: LiveBases, keep_lock: Callable[[], None]) -> None:
        """`keep_lock` is called after every batch of keys that was deleted."""
        self._settings, self._redis, self._live, self._keep_lock = settings, redis, live, keep_lock

    def delete(self, former: BasisRef, say: Say) -> None:
        """Delete the profiles under a basis, and its posts' features if no basis that may be live shares them.

        Its consumer groups go back to the start of the log: rolled out again, it learns all of it anew.

        Raises:
            redis.exceptions.RedisError: Redis is away.
        """
        try:
            self._rewind(former.load())
        except (InvalidBasis, KafkaError) as error:
            say(f"the profiles under {former.version} stay: {error}")
            return
        deleted = self._deleted(delete_profiles(self._redis, former.version))
        say(f"{former.version} was live before that: {deleted:,} keys of its profiles are deleted")
        try:
            shared = former.load().text_version in self._text_versions()
        except InvalidBasis as error:
            say(f"the features of posts under {former.version} expire by themselves: {error}")
            return
        if not shared:
            deleted = self._deleted(delete_features(self._redis, former.load().text_version))
            say(f"so are the features of {deleted:,} posts")

    def _text_versions(self) -> set[str]:
        """The text versions of the bases that are live or may become so.

        Raises:
            slop.basis.InvalidBasis: one can't be read.
        """
        bases = self._live.read()
        return {ref.load().text_version for ref in (bases.live, bases.also_followed, bases.former) if ref is not None}

    def _deleted(self, batches: Iterator[int]) -> int:
        """Delete in batches, keeping the lock meanwhile; returns how many keys were deleted."""
        deleted = 0
        for keys in batches:
            deleted += keys
            self._keep_lock()
        return deleted

    def _rewind(self, basis: Basis) -> None:
        """Have a basis' groups read posts and interactions from the start.

        Their signals are published again, in order. Those in the topic now are skipped: else newer ones among them
        would be learned before the older ones that come again.
        """
        groups = groups_of(basis, self._live.configured.version, self._settings)
        for group, topic in ((groups.texts, POSTS), (groups.interactions, INTERACTIONS)):
            with closing(GroupLag(self._settings, group, topic)) as lag:
                lag.rewind()
        with closing(GroupLag(self._settings, groups.signals, SIGNALS)) as lag:
            lag.skip()
