"""Redis keys and scripts of profiles and of their latest events and decisions."""

import hashlib
from collections.abc import Iterator, Sequence
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
from slop.redis.scripts import Call, Script
from slop.v1.profile_pb2 import Profile as ProfileRecord

Floats = npt.NDArray[np.float32]


# KEYS: profile, recent. Returns the bytes of both, false for what is not there.
_READ: Final = Script("""
return {redis.call('HGET', KEYS[1], 'profile'), redis.call('GET', KEYS[2])}
""")

# KEYS: profile, recent. ARGV: SHA-1 of the profile that this one follows, empty for none, profile, recent, expiry ms.
# Refuses (0) where another profile is stored than the one that this one follows, else writes everything (1).
_APPLY: Final = Script("""
local stored = redis.call('HGET', KEYS[1], 'profile')
if stored == ARGV[2] then return 1 end
if (stored and redis.sha1hex(stored) or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'profile', ARGV[2])
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4])
return 1
""")

# KEYS: profile, recent. ARGV: '1' to replace whatever is there, profile, recent or empty for none, expiry ms.
# Returns 0, having done nothing, where there is a profile that is not to be replaced.
_IMPORT: Final = Script("""
if ARGV[1] ~= '1' and redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], 'profile', ARGV[2])
if ARGV[3] ~= '' then redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4]) end
return 1
""")


@lru_cache(maxsize=4096)
def _user(tenant: str, user_id: str) -> str:
    # The hash tag keeps all keys of a user on one node of a Redis Cluster.
    return f"{{{quote(tenant, safe='')}/{quote(user_id, safe='')}}}"


def profile_key(basis: str, tenant: str, user_id: str) -> str:
    """Where a profile lies; a new basis is a new key space."""
    return f"slop:profile:{basis}:{_user(tenant, user_id)}"


def recent_key(basis: str, tenant: str, user_id: str) -> str:
    """What is remembered of a user's latest events and decisions, the bytes of `slop.recent.Recent`."""
    return f"slop:recent:{basis}:{_user(tenant, user_id)}"


def recent_pattern(basis: str) -> str:
    """What SCAN finds the latest events and decisions of all users under a basis with."""
    return f"slop:recent:{basis}:*"


def profiles_pattern(basis: str) -> str:
    """What SCAN finds the profiles of all users under a basis with."""
    return f"slop:profile:{basis}:*"


def delete_profiles(redis: Redis, basis: str, batch: int = 1_000) -> Iterator[int]:
    """Delete all that is stored of users under a basis; yields how many keys went with each batch of about `batch`."""
    for pattern in (profiles_pattern(basis), recent_pattern(basis)):
        yield from delete_keys(redis, pattern, batch)


def delete_keys(redis: Redis, pattern: str, batch: int) -> Iterator[int]:
    """Delete all keys that SCAN finds with a pattern; yields how many went with each batch of about `batch`."""
    cursor = None
    while cursor != 0:
        cursor, keys = redis.scan(cursor or 0, match=pattern, count=batch)
        yield redis.unlink(*keys) if keys else 0


class User(NamedTuple):
    """Whose profile it is."""

    tenant: str
    user_id: str


def user_of(key: str) -> User:
    """Whose profile lies at a key that `profile_key` made."""
    tenant, user_id = key.rsplit(":", 1)[1].strip("{}").split("/")
    return User(unquote(tenant), unquote(user_id))


@dataclass(frozen=True, slots=True)
class StoredUser:
    """What is stored of a user under a basis: the profile's bytes, and those of the latest events and decisions."""

    profile: bytes | None
    recent: bytes | None


@dataclass(frozen=True, slots=True)
class Write:
    """A profile to write, with the bytes of `slop.recent.Recent` that go with it.

    Attributes:
        user: whose.
        follows: the stored bytes of the profile that this one was made from; None: there was none.
        profile: to store; it differs from the one before.
        recent: likewise.
    """

    user: User
    follows: bytes | None
    profile: Profile
    recent: bytes


@dataclass(frozen=True, slots=True)
class ArchivedUser:
    """All that is stored of a user under a basis: the bytes of the profile, and of the latest events and decisions.

    The latter are empty for a user of whom nothing is remembered any more.
    """

    user: User
    profile: bytes
    recent: bytes


class Profiles:
    """The learner's view of the profiles under one basis."""

    def __init__(self, redis: Redis, basis: str, window_ms: int) -> None:
        """Profiles of the basis with version `basis`; events and decisions are remembered for `window_ms`."""
        self._redis, self._basis = redis, basis
        # They outlive the window by as much again: a learner that lags by less still knows what it has seen.
        self._expiry_ms = 2 * window_ms

    def read(self, users: Sequence[User]) -> list[StoredUser]:
        """Read users in one round trip, each atomically."""
        found = _READ.run(self._redis, [_call(self._basis, user) for user in users])
        return [StoredUser(profile, recent) for profile, recent in found]

    def apply(self, writes: Sequence[Write]) -> list[bool]:
        """Write profiles in one round trip, each atomically and whole.

        Returns:
            For each whether it is stored now; False where another profile is stored than the one that it follows:
            somebody else has learned meanwhile.
        """
        calls = [_call(self._basis, write.user, *self._arguments(write)) for write in writes]
        return [bool(applied) for applied in _APPLY.run(self._redis, calls)]

    def _arguments(self, write: Write) -> tuple[Any, ...]:
        follows = "" if write.follows is None else hashlib.sha1(write.follows, usedforsecurity=False).hexdigest()
        return follows, write.profile.to_bytes(), write.recent, self._expiry_ms


class ProfileArchive:
    """The profiles of all users under one basis, for jobs that go through every one of them."""

    def __init__(self, redis: Redis, basis: str, window_ms: int) -> None:
        """As of `Profiles`."""
        self._redis, self._basis, self._expiry_ms = redis, basis, 2 * window_ms

    def users(self, batch: int = 1_000) -> Iterator[list[User]]:
        """Every user with a profile, in batches of about `batch`.

        A user whose first signal is learned meanwhile may be left out; one may come twice while Redis grows its tables.
        """
        cursor = None
        while cursor != 0:
            cursor, keys = self._redis.scan(cursor or 0, match=profiles_pattern(self._basis), count=batch)
            if keys:
                yield [user_of(key.decode()) for key in cast("list[bytes]", keys)]

    def profiles(self, users: Sequence[User]) -> list[bytes | None]:
        """The profiles' bytes in one round trip; None for a user who has none any more."""
        pipe = self._redis.pipeline(transaction=False)
        for user in users:
            pipe.hget(profile_key(self._basis, *user), "profile")
        return cast("list[bytes | None]", pipe.execute())

    def export(self, users: Sequence[User]) -> list[ArchivedUser]:
        """All that is stored of users, each read atomically, in one round trip; without those who have no profile."""
        found = _READ.run(self._redis, [_call(self._basis, user) for user in users])
        return [
            ArchivedUser(user, profile, recent or b"")
            for user, (profile, recent) in zip(users, found, strict=True)
            if profile is not None
        ]

    def restore(self, users: Sequence[ArchivedUser], replace: bool) -> int:
        """Store users, each atomically and whole, in one round trip; returns how many were stored.

        A user who has a profile already is left alone unless `replace`.

        Raises:
            google.protobuf.message.DecodeError: a profile's bytes are broken.
        """
        for user in users:
            ProfileRecord.FromString(user.profile)
        flag, expiry_ms = int(replace), self._expiry_ms
        calls = [_call(self._basis, user.user, flag, user.profile, user.recent, expiry_ms) for user in users]
        return sum(_IMPORT.run(self._redis, calls))


def _call(basis: str, user: User, *arguments: Any) -> Call:
    """Of a script of a user's keys."""
    return Call([profile_key(basis, *user), recent_key(basis, *user)], arguments)


class ProfileReader:
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
