"""Stores the texts of posts from slop.posts.v1, and lets interactions wait until the earlier ones are stored."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from hashlib import blake2b
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import structlog
from google.protobuf.message import DecodeError
from kafka.errors import KafkaError

from featurizer.post_features import PostFeatures
from kit.worker import retry
from slop.kafka.group_lag import GroupLag
from slop.kafka.log import whole_log
from slop.kafka.records import ConsumerRecord
from slop.kafka.topics import INTERACTIONS, POSTS
from slop.redis.parking import Parking
from slop.redis.posts import POST_TTL_S, PostRef, ref_of, sent_text
from slop.settings import CommonSettings
from slop.v1.interaction_pb2 import Interaction
from slop.v1.post_pb2 import Post

LOOK_S: Final = 1.0  # pause between two looks whether texts are read
MOST_UNSORTED: Final = 1_000_000  # digests that are kept in a set before they go into the array

log = structlog.get_logger(__name__)


def post_of(record: ConsumerRecord) -> Post | None:
    """The post of a record; None for a tombstone.

    Raises:
        google.protobuf.message.DecodeError: it is no post.
    """
    return None if record.value is None else Post.FromString(record.value)


def is_old(post: Post) -> bool:
    """Whether a post has expired in Redis, unless it was used meanwhile."""
    age_ms = time.time_ns() // 1_000_000 - post.created_at_ms
    return bool(post.created_at_ms) and age_ms > 1_000 * POST_TTL_S


class ReactedPosts:
    """The set of posts that interactions of the log are about, as sorted digests of 8 bytes."""

    def __init__(self, posts: Iterable[PostRef] = ()) -> None:
        self._sorted: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        unsorted: set[int] = set()
        for post in posts:
            unsorted.add(_digest(post))
            if len(unsorted) == MOST_UNSORTED:
                self._sort(unsorted)
        self._sort(unsorted)

    @classmethod
    def of_log(cls, settings: CommonSettings) -> Self:
        """The posts of all interactions that are in the log now.

        Raises:
            kafka.errors.KafkaError, TimeoutError: the brokers are away.
        """
        return cls(_reacted_to(whole_log(settings, INTERACTIONS)))

    def __contains__(self, post: PostRef) -> bool:
        """Whether there is an interaction with the post. It is wrong for one other post in 2^64 / len(self)."""
        digest = np.uint64(_digest(post))
        at = int(np.searchsorted(self._sorted, digest))
        return at < len(self._sorted) and self._sorted[at] == digest

    def __len__(self) -> int:
        """The number of posts."""
        return len(self._sorted)

    def _sort(self, unsorted: set[int]) -> None:
        new = np.fromiter(unsorted, np.uint64, len(unsorted))
        self._sorted = np.union1d(self._sorted, new)
        unsorted.clear()


class TextStore:
    """Stores the texts of posts as they come, and marks posts as wanted if interactions are parked under them.

    When the log is read again, posts come that have expired in Redis. They are stored if there is an interaction with
    them, since that comes again too.
    """

    def __init__(
        self,
        post_features: PostFeatures,
        parking: Parking,
        reacted: Callable[[], ReactedPosts],
        wake: Callable[[], object] = lambda: None,
    ) -> None:
        """A store of texts.

        Args:
            post_features: where texts are stored.
            parking: where posts are marked as wanted.
            reacted: reads the log, which may take minutes. It is called at the first expired post, and only once.
            wake: called when a post is wanted.
        """
        self._post_features, self._parking, self._read, self._wake = post_features, parking, reacted, wake
        self._reacted: ReactedPosts | None = None

    def __call__(self, records: Sequence[ConsumerRecord]) -> None:
        """Store the texts of a batch.

        Raises:
            google.protobuf.message.DecodeError: a record is no post.
            redis.exceptions.RedisError, kafka.errors.KafkaError, TimeoutError: a server is away.
        """
        texts = [(ref_of(post), sent_text(post)) for post in map(post_of, records) if post and self._is_kept(post)]
        puts = self._post_features.announce(texts)
        if awaited := {ref for (ref, _), put in zip(texts, puts, strict=True) if put.awaited}:
            self._parking.want(awaited)
            self._wake()

    def _is_kept(self, post: Post) -> bool:
        if not is_old(post):
            return True
        if self._reacted is None:
            log.info("old posts: looking which of them the log is about")
            self._reacted = self._read()
            log.info("old posts that the log is about are kept", posts=len(self._reacted))
        return ref_of(post) in self._reacted


class TextsRead:
    """Lets interactions wait until the texts that were published before them are stored.

    It matters when the log is read again: both topics are read at the same time then.

    Attributes:
        done: whether the wait is over: all replicas together have read what was published before `wait` began.
    """

    def __init__(self, settings: CommonSettings, group: str) -> None:
        """`group` is the consumer group that reads the texts."""
        self._settings, self._group = settings, group
        self.done = False

    def wait(self, stop: threading.Event) -> None:
        """Wait until the texts are read that are published now.

        Raises:
            kit.worker.Stopped: `stop` was set before they are read.
        """
        lag = retry(
            lambda: GroupLag(self._settings, self._group, POSTS), (KafkaError,), stop, "look what texts there are"
        )
        with closing(lag):
            ends = retry(lag.ends, (KafkaError,), stop, "look what texts there are")
            log.info("interactions wait until texts are read", group=self._group)
            while retry(lambda: lag.behind(ends), (KafkaError,), stop, "look whether texts are read"):
                stop.wait(LOOK_S)
        self.done = True


def _reacted_to(records: Iterable[ConsumerRecord]) -> Iterable[PostRef]:
    for record in records:
        try:
            interaction = Interaction.FromString(record.value or b"")
        except DecodeError:
            continue
        yield PostRef(interaction.tenant, interaction.post_id)


def _digest(post: PostRef) -> int:
    return int.from_bytes(blake2b(post.key.encode(), digest_size=8).digest(), "little")
