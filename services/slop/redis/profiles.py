"""Keys and scripts of profiles in Redis, and of what is remembered of a reader's latest events and decisions."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast
from urllib.parse import quote, unquote

import numpy as np
import numpy.typing as npt
from redis import Redis
from redis import asyncio as aioredis

from slop.basis import Basis
from slop.profiles import Profile
from slop.recent import liked_posts
from slop.redis.scripts import Call, Script
from slop.v1.profile_pb2 import Profile as ProfileRecord

Floats = npt.NDArray[np.float32]


# KEYS: profile, recent. Returns the bytes of both, false for one that does not exist.
_READ: Final = Script("""
return {redis.call('HGET', KEYS[1], 'profile'), redis.call('GET', KEYS[2])}
""")

# KEYS: profile, recent. ARGV: SHA-1 of the profile that this one was made from (empty if there was none), profile,
# recent, expiry in ms. Writes both and returns 1; returns 0 and writes nothing if another profile is stored than the
# one that this one was made from.
_APPLY: Final = Script("""
local stored = redis.call('HGET', KEYS[1], 'profile')
if stored == ARGV[2] then return 1 end
if (stored and redis.sha1hex(stored) or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'profile', ARGV[2])
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4])
return 1
""")

# KEYS: profile, recent. ARGV: '1' to replace a stored profile, profile, recent (empty if there is none), expiry in ms.
# Writes both and returns 1; returns 0 and writes nothing if a profile is stored that is not to be replaced.
_IMPORT: Final = Script("""
if ARGV[1] ~= '1' and redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], 'profile', ARGV[2])
if ARGV[3] ~= '' then redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4]) end
return 1
""")


@lru_cache(maxsize=4096)
def user_tag(tenant: str, user_id: str) -> str:
    """A reader in the keys of Redis: the tenant and the reader, percent-encoded, as a hash tag."""
    # The hash tag keeps all keys of a user on one node of a Redis Cluster.
    return f"{{{quote(tenant, safe='')}/{quote(user_id, safe='')}}}"


def profile_key(basis: str, tenant: str, user_id: str) -> str:
    """The key of a profile under a basis, given by its version: a hash with the field `profile`."""
    return f"slop:profile:{basis}:{user_tag(tenant, user_id)}"


def recent_key(basis: str, tenant: str, user_id: str) -> str:
    """The key of what is remembered of a reader: a string, the bytes of `slop.recent.Recent`."""
    return f"slop:recent:{basis}:{user_tag(tenant, user_id)}"


def recent_pattern(basis: str) -> str:
    """The pattern by which SCAN finds all of `recent_key` under a basis."""
    return f"slop:recent:{basis}:*"


def profiles_pattern(basis: str) -> str:
    """The pattern by which SCAN finds all of `profile_key` under a basis."""
    return f"slop:profile:{basis}:*"


def delete_profiles(redis: Redis, basis: str, batch: int = 1_000) -> Iterator[int]:
    """Delete all that is stored of readers under a basis; yields numbers of deleted keys, about `batch` at a time."""
    for pattern in (profiles_pattern(basis), recent_pattern(basis)):
        yield from delete_keys(redis, pattern, batch)


def delete_keys(redis: Redis, pattern: str, batch: int) -> Iterator[int]:
    """Delete all keys that match a pattern; yields the number of deleted keys, about `batch` at a time."""
    cursor = None
    while cursor != 0:
        cursor, keys = redis.scan(cursor or 0, match=pattern, count=batch)
        yield redis.unlink(*keys) if keys else 0


class User(NamedTuple):
    """A reader: tenant and `user_id`."""

    tenant: str
    user_id: str


def user_of(key: str) -> User:
    """The reader in a key that ends in `user_tag`, with or without its braces."""
    tenant, user_id = key.rsplit(":", 1)[-1].strip("{}").split("/")
    return User(unquote(tenant), unquote(user_id))


@dataclass(frozen=True, slots=True)
class StoredUser:
    """What is stored of a reader under a basis: the bytes of the profile, and of `slop.recent.Recent`."""

    profile: bytes | None
    recent: bytes | None


@dataclass(frozen=True, slots=True)
class Write:
    """A profile to write.

    Attributes:
        user: whose it is.
        follows: the stored bytes of the profile that it was made from; None if there was none.
        profile: to store; it differs from the one that it was made from.
        recent: the bytes of the `slop.recent.Recent` that go with it.
    """

    user: User
    follows: bytes | None
    profile: Profile
    recent: bytes


@dataclass(frozen=True, slots=True)
class ArchivedUser:
    """All that is stored of a reader under a basis, for snapshots.

    Attributes:
        user: whose it is.
        profile: the bytes of the profile.
        recent: the bytes of `slop.recent.Recent`; empty if they have expired.
    """

    user: User
    profile: bytes
    recent: bytes


class Profiles:
    """The profiles under one basis, as the learner reads and writes them."""

    def __init__(self, redis: Redis, basis: str, window_ms: int) -> None:
        """Profiles under a basis.

        Args:
            redis: where they are.
            basis: version of the basis.
            window_ms: how long events and decisions are remembered, in milliseconds.
        """
        self._redis, self._basis = redis, basis
        # Twice the window, so that a learner that lags behind by less than a window still has what it remembers.
        self._expiry_ms = 2 * window_ms

    def read(self, users: Sequence[User]) -> list[StoredUser]:
        """What is stored of readers, in their order. One round trip; each reader is read atomically."""
        found = _READ.run(self._redis, [_call(self._basis, user) for user in users])
        return [StoredUser(profile, recent) for profile, recent in found]

    def apply(self, writes: Sequence[Write]) -> list[bool]:
        """Write profiles in one round trip, each one atomically with what goes with it.

        Returns:
            for each whether it is stored now. It is not if another process has written the reader's profile meanwhile,
            so that the stored one is not `follows`.
        """
        calls = [_call(self._basis, write.user, *self._arguments(write)) for write in writes]
        return [bool(applied) for applied in _APPLY.run(self._redis, calls)]

    def delete(self, users: Iterable[User]) -> None:
        """Delete all that is stored of readers, in one round trip."""
        pipe = self._redis.pipeline(transaction=False)
        for user in users:
            pipe.delete(profile_key(self._basis, *user), recent_key(self._basis, *user))
        pipe.execute()

    def _arguments(self, write: Write) -> tuple[Any, ...]:
        follows = "" if write.follows is None else hashlib.sha1(write.follows, usedforsecurity=False).hexdigest()
        return follows, write.profile.to_bytes(), write.recent, self._expiry_ms


class ProfileArchive:
    """The profiles of all readers under one basis, for jobs that go through all of them."""

    def __init__(self, redis: Redis, basis: str, window_ms: int) -> None:
        """Profiles under a basis; the arguments are those of `Profiles`."""
        self._redis, self._basis, self._expiry_ms = redis, basis, 2 * window_ms

    def users(self, batch: int = 1_000) -> Iterator[list[User]]:
        """All readers with a profile, in batches of about `batch`.

        A reader whose first signal is learned meanwhile may be missing. A reader may come twice, as of any SCAN.
        """
        cursor = None
        while cursor != 0:
            cursor, keys = self._redis.scan(cursor or 0, match=profiles_pattern(self._basis), count=batch)
            if keys:
                yield [user_of(key.decode()) for key in cast("list[bytes]", keys)]

    def profiles(self, users: Sequence[User]) -> list[bytes | None]:
        """The bytes of readers' profiles, in one round trip; None for a reader without one."""
        pipe = self._redis.pipeline(transaction=False)
        for user in users:
            pipe.hget(profile_key(self._basis, *user), "profile")
        return cast("list[bytes | None]", pipe.execute())

    def export(self, users: Sequence[User]) -> list[ArchivedUser]:
        """All that is stored of those readers who have a profile. One round trip; each reader is read atomically."""
        found = _READ.run(self._redis, [_call(self._basis, user) for user in users])
        return [
            ArchivedUser(user, profile, recent or b"")
            for user, (profile, recent) in zip(users, found, strict=True)
            if profile is not None
        ]

    def restore(self, users: Sequence[ArchivedUser], replace: bool) -> int:
        """Store readers in one round trip, each one atomically; returns how many were stored.

        A reader who has a profile is left as it is, unless `replace` is true.

        Raises:
            google.protobuf.message.DecodeError: the bytes of a profile are broken; nothing was stored.
        """
        for user in users:
            ProfileRecord.FromString(user.profile)
        flag, expiry_ms = int(replace), self._expiry_ms
        calls = [_call(self._basis, user.user, flag, user.profile, user.recent, expiry_ms) for user in users]
        return sum(_IMPORT.run(self._redis, calls))


def _call(basis: str, user: User, *arguments: Any) -> Call:
    """A call of a script with the two keys of a reader."""
    return Call([profile_key(basis, *user), recent_key(basis, *user)], arguments)


class ProfileReader:
    """Reads profiles on an event loop, for the requests of generation."""

    def __init__(self, redis: aioredis.Redis, basis: Basis, tenant: str) -> None:
        self._redis, self._basis, self._tenant = redis, basis, tenant
        self._version = basis.version

    async def profile(self, user_id: str) -> Profile | None:
        """The profile of a reader, or None if nothing was learned.

        Raises:
            slop.profiles.InvalidProfile: the stored profile must not be used.
            redis.exceptions.RedisError: Redis does not answer.
        """
        key = profile_key(self._version, self._tenant, user_id)
        data = cast("bytes | None", await self._redis.hget(key, "profile"))
        return None if data is None else Profile.from_bytes(data, self._basis.dimensions)

    async def liked_posts(self, user_id: str) -> tuple[str, ...]:
        """The ids of the posts that a reader liked last, newest last.

        Raises:
            slop.recent.InvalidRecent: what is remembered of the reader must not be used.
            redis.exceptions.RedisError: Redis does not answer.
        """
        data = cast("bytes | None", await self._redis.get(recent_key(self._version, self._tenant, user_id)))
        return () if data is None else liked_posts(data)
