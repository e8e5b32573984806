"""Posts that were written before they were asked for: a queue for each reader, and which readers are active.

A reader who asked for posts of the feed lately is *active*. The queue of an active reader is kept filled by
`jobs.pregeneration`, and emptied by `GET /v1/users/{id}/feed`. Each post leaves its queue once.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError
from redis import Redis
from redis import asyncio as aioredis

from slop.redis.profiles import User, user_of, user_tag
from slop.v1.post_pb2 import Post

Shares = npt.NDArray[np.float32]

ACTIVE_KEY: Final = "slop:feed-active"
"""A sorted set: the active readers, by when they last asked, in seconds since the Unix epoch."""
MAX_ACTIVE: Final = 100_000
"""How many readers are remembered as active; if there are more, those who asked longest ago are forgotten."""


def queue_key(user: User) -> str:
    """The key of a reader's queue: a list of `slop.v1.Post`, the next one first."""
    return f"slop:feed:{user_tag(*user)}"


def written_key(user: User) -> str:
    """The key of what a queue was written under: a string, the version of the basis and (K,) float32 shares."""
    return f"slop:feed-written:{user_tag(*user)}"


def _member(user: User) -> str:
    return user_tag(*user).strip("{}")


@dataclass(frozen=True, slots=True)
class WrittenUnder:
    """What the posts of a queue were written under.

    Attributes:
        basis: its version.
        shares: (K,) float32, the share of each prompt in the reader's posts by then; all 0 where posts were plain.
    """

    basis: str
    shares: Shares

    def distance(self, basis: str, shares: Shares) -> float:
        """How far a reader has moved since, from 0 to 1: the total variation distance of the shares.

        It is half the sum of the absolute differences (Levin, Peres and Wilmer 2009, proposition 4.2). From and to
        plain posts, and from one basis to another, it is 1.
        """
        if basis != self.basis or self.shares.shape != shares.shape or self.shares.any() != shares.any():
            return 1.0
        return float(np.abs(self.shares - shares).sum() / 2)

    def to_bytes(self) -> bytes:
        """As it is stored."""
        return self.basis.encode() + b"\0" + self.shares.astype("<f4").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> "WrittenUnder | None":
        """From what is stored; None if it is broken."""
        basis, _, shares = data.partition(b"\0")
        try:
            return cls(basis.decode(), np.frombuffer(shares, dtype="<f4"))
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class QueueState:
    """How many posts a queue has, and what they were written under; None if that is not known."""

    length: int
    written: WrittenUnder | None


class FeedQueues:
    """The queues, as the job that fills them sees them."""

    def __init__(self, redis: Redis, expiry_s: float) -> None:
        """A queue that is not written to for `expiry_s` seconds is forgotten."""
        self._redis, self._expiry_s = redis, max(round(expiry_s), 1)

    def active(self, within_s: float) -> list[User]:
        """The readers who asked within so many seconds, the latest first; all others are forgotten.

        Raises:
            redis.exceptions.RedisError: Redis is away.
        """
        since = time.time() - within_s
        pipe = self._redis.pipeline(transaction=False)
        pipe.zremrangebyscore(ACTIVE_KEY, "-inf", since)
        pipe.zremrangebyrank(ACTIVE_KEY, 0, -MAX_ACTIVE - 1)
        pipe.zrevrange(ACTIVE_KEY, 0, -1)
        return [user_of(member.decode()) for member in pipe.execute()[-1]]

    def states(self, users: Sequence[User]) -> list[QueueState]:
        """The state of each reader's queue, in one round trip.

        Raises:
            redis.exceptions.RedisError: Redis is away.
        """
        pipe = self._redis.pipeline(transaction=False)
        for user in users:
            pipe.llen(queue_key(user))
            pipe.get(written_key(user))
        found = pipe.execute()
        return [
            QueueState(length, WrittenUnder.from_bytes(data) if data else None)
            for length, data in zip(found[::2], found[1::2], strict=True)
        ]

    def add(self, user: User, posts: Sequence[Post], written: WrittenUnder, *, replace: bool) -> None:
        """Put posts at the end of a queue, or in the place of what is there.

        Raises:
            redis.exceptions.RedisError: Redis is away, or refuses to write.
        """
        pipe = self._redis.pipeline(transaction=True)
        if replace:
            pipe.delete(queue_key(user))
        pipe.rpush(queue_key(user), *(post.SerializeToString() for post in posts))
        pipe.expire(queue_key(user), self._expiry_s)
        pipe.set(written_key(user), written.to_bytes(), ex=self._expiry_s)
        pipe.execute()


class FeedReader:
    """The queues, as the requests of generation see them."""

    def __init__(self, redis: aioredis.Redis, tenant: str) -> None:
        self._redis, self._tenant = redis, tenant

    async def take(self, user_id: str, posts: int) -> list[Post]:
        """Take so many posts out of a reader's queue, or fewer if it has fewer; the reader is active from now on.

        Raises:
            redis.exceptions.RedisError: Redis is away. Posts may have left the queue.
        """
        user = User(self._tenant, user_id)
        pipe = self._redis.pipeline(transaction=False)
        pipe.lpop(queue_key(user), posts)
        pipe.zadd(ACTIVE_KEY, {_member(user): time.time()})
        taken = cast("list[bytes] | None", (await pipe.execute())[0])
        return [post for data in taken or () if (post := _post(data)) is not None]


def _post(data: bytes) -> Post | None:
    try:
        return Post.FromString(data)
    except DecodeError:
        return None
