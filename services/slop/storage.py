"""All Redis keys and scripts: profiles, the window of recent event ids, posts with their features."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
from redis import Redis
from redis import asyncio as aioredis

from slop.basis import Basis
from slop.profiles import Profile

Floats = npt.NDArray[np.float32]

POST_TTL_S: Final = 30 * 24 * 3600

# KEYS: profile, seen. ARGV: event ids. Returns the profile's bytes and for every id when it was seen (ms) or false.
_READ = """
local seen = {}
if #ARGV > 0 then seen = redis.call('ZMSCORE', KEYS[2], unpack(ARGV)) end
return {redis.call('HGET', KEYS[1], 'profile'), seen}
"""

# KEYS: profile, seen. ARGV: partition, offset, profile, window ms, then pairs of received ms and event id.
# Refuses (0) an offset that is not newer than the applied one of the same partition, else writes everything (1).
_APPLY = """
local applied = redis.call('HMGET', KEYS[1], 'partition', 'offset')
if applied[1] == ARGV[1] and tonumber(applied[2]) >= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'partition', ARGV[1], 'offset', ARGV[2], 'profile', ARGV[3])
local newest = 0
for i = 5, #ARGV, 2 do
  redis.call('ZADD', KEYS[2], 'GT', ARGV[i], ARGV[i + 1])
  newest = math.max(newest, tonumber(ARGV[i]))
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', newest - tonumber(ARGV[4]) - 1)
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return 1
"""


def event_digest(event_id: str) -> bytes:
    """What is remembered of an event id: 12 bytes."""
    return hashlib.blake2b(event_id.encode(), digest_size=12).digest()


def _user(tenant: str, user_id: str) -> str:
    # The hash tag keeps all keys of a user on one node of a Redis Cluster.
    return f"{{{quote(tenant, safe='')}/{quote(user_id, safe='')}}}"


def profile_key(basis: str, tenant: str, user_id: str) -> str:
    """Where a profile lies; a new basis is a new key space."""
    return f"slop:profile:{basis}:{_user(tenant, user_id)}"


def seen_key(basis: str, tenant: str, user_id: str) -> str:
    """The recent event ids of a user, a sorted set by received time."""
    return f"slop:seen:{basis}:{_user(tenant, user_id)}"


def post_key(basis: str, tenant: str, post_id: str) -> str:
    """A post's text and features."""
    return f"slop:post:{basis}:{quote(tenant, safe='')}/{quote(post_id, safe='')}"


@dataclass(frozen=True, slots=True)
class StoredUser:
    """What the learner reads of a user: the profile's bytes and for every asked event id when it was seen (ms)."""

    profile: bytes | None
    seen: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Write:
    """A profile to write, with the (received ms, event id) of the signals that it has learned."""

    user_id: str
    profile: Profile
    events: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class StoredPost:
    """A post's text and its features, (K,) float32."""

    text: str
    features: Floats


class Profiles:
    """The learner's view of the profiles of one tenant under one basis."""

    def __init__(self, redis: Redis, basis: str, tenant: str, window_ms: int) -> None:
        self._redis, self._basis, self._tenant, self._window_ms = redis, basis, tenant, window_ms
        self._read = redis.register_script(_READ)
        self._apply = redis.register_script(_APPLY)

    def _keys(self, user_id: str) -> list[str]:
        return [profile_key(self._basis, self._tenant, user_id), seen_key(self._basis, self._tenant, user_id)]

    def read(self, users: Sequence[tuple[str, Sequence[str]]]) -> list[StoredUser]:
        """Read users, each (user id, event ids), in one round trip; one user is read atomically."""
        pipe = self._redis.pipeline(transaction=False)
        for user_id, event_ids in users:
            self._read(keys=self._keys(user_id), args=[event_digest(e) for e in event_ids], client=pipe)
        return [
            StoredUser(profile, tuple(None if score is None else int(float(score)) for score in seen))
            for profile, seen in pipe.execute()
        ]

    def apply(self, writes: Sequence[Write]) -> list[bool]:
        """Write profiles in one round trip; False where the stored offset is not older, and nothing was written."""
        pipe = self._redis.pipeline(transaction=False)
        for write in writes:
            profile = write.profile
            args: list[Any] = [profile.partition, profile.offset, profile.to_bytes(), self._window_ms]
            for received_ms, event_id in write.events:
                args += [received_ms, event_digest(event_id)]
            self._apply(keys=self._keys(write.user_id), args=args, client=pipe)
        return [bool(applied) for applied in pipe.execute()]


def _packed(post: StoredPost) -> dict[str, bytes]:
    return {"text": post.text.encode(), "features": post.features.astype("<f4").tobytes()}


def _unpacked(fields: Sequence[bytes | None], size: int) -> StoredPost | None:
    text, features = fields
    if text is None or features is None:
        return None
    vector = np.frombuffer(features, dtype="<f4").astype(np.float32)
    usable = vector.shape == (size,) and np.isfinite(vector).all()
    return StoredPost(text.decode(), vector) if usable else None


class Posts:
    """The featurizer's view of posts and their features."""

    def __init__(self, redis: Redis, basis: Basis, tenant: str) -> None:
        self._redis, self._basis, self._tenant = redis, basis, tenant
        self._version = basis.version

    def _key(self, post_id: str) -> str:
        return post_key(self._version, self._tenant, post_id)

    def get(self, post_ids: Sequence[str]) -> list[StoredPost | None]:
        """Posts in the order asked for; None for one that is not there."""
        pipe = self._redis.pipeline(transaction=False)
        for post_id in post_ids:
            pipe.hmget(self._key(post_id), ["text", "features"])
        return [_unpacked(fields, self._basis.size) for fields in pipe.execute()]

    def put(self, posts: dict[str, StoredPost]) -> None:
        """Store posts by id, for POST_TTL_S seconds."""
        pipe = self._redis.pipeline(transaction=False)
        for post_id, post in posts.items():
            pipe.hset(self._key(post_id), mapping=cast("dict[Any, Any]", _packed(post)))
            pipe.expire(self._key(post_id), POST_TTL_S)
        pipe.execute()


class Reader:
    """What generation reads at request time, without blocking."""

    def __init__(self, redis: aioredis.Redis, basis: Basis, tenant: str) -> None:
        self._redis, self._basis, self._tenant = redis, basis, tenant
        self._version = basis.version

    async def profile(self, user_id: str) -> Profile | None:
        """A user's profile, or None for one of whom nothing was learned.

        Raises:
            slop.profiles.InvalidProfile: what is stored must not be used.
            redis.exceptions.RedisError: Redis does not answer.
        """
        key = profile_key(self._version, self._tenant, user_id)
        data = cast("bytes | None", await self._redis.hget(key, "profile"))
        return None if data is None else Profile.from_bytes(data, self._basis.dimensions)

    async def posts(self, post_ids: Sequence[str]) -> list[StoredPost | None]:
        """Posts in the order asked for; None for one that is not there."""
        pipe = self._redis.pipeline(transaction=False)
        for post_id in post_ids:
            pipe.hmget(post_key(self._version, self._tenant, post_id), ["text", "features"])
        return [_unpacked(fields, self._basis.size) for fields in await pipe.execute()]

    async def ping(self) -> None:
        """Raise redis.exceptions.RedisError if Redis does not answer."""
        await self._redis.ping()
