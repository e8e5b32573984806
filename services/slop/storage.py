"""Redis keys and scripts of profiles and of the window of recent event ids; those of posts are in `slop.posts`."""

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
from redis.exceptions import NoScriptError

from slop.basis import Basis
from slop.profiles import Profile
from slop.v1.profile_pb2 import Profile as ProfileRecord

Floats = npt.NDArray[np.float32]

LIVE_KEY: Final = "slop:live"  # which bases are followed (see `slop.live`)

# KEYS: profile, seen. ARGV: event ids. Returns the profile's bytes and for every id when it was seen (ms) or false.
_READ = """
local seen = {}
if #ARGV > 0 then seen = redis.call('ZMSCORE', KEYS[2], unpack(ARGV)) end
return {redis.call('HGET', KEYS[1], 'profile'), seen}
"""

# KEYS: profile, seen. ARGV: partition, offset, profile, the received ms that event ids are forgotten before, expiry ms,
# then pairs of received ms and event id.
# Refuses (0) an offset that is not newer than the applied one of the same partition, else writes everything (1).
_APPLY = """
local applied = redis.call('HMGET', KEYS[1], 'partition', 'offset')
if applied[1] == ARGV[1] and tonumber(applied[2]) >= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'partition', ARGV[1], 'offset', ARGV[2], 'profile', ARGV[3])
redis.call('ZADD', KEYS[2], 'GT', unpack(ARGV, 6))
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
return 1
"""

# KEYS: profile, seen. Returns the profile's bytes or false, and every seen event with its received ms.
_EXPORT = """
return {redis.call('HGET', KEYS[1], 'profile'), redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')}
"""

# KEYS: profile, seen. ARGV: '1' to replace whatever is there, partition, offset, profile, expiry ms, then pairs of
# received ms and digest. Returns 0, having done nothing, where there is a profile that is not to be replaced.
_IMPORT = """
if ARGV[1] ~= '1' and redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], 'partition', ARGV[2], 'offset', ARGV[3], 'profile', ARGV[4])
for at = 6, #ARGV, 2 do redis.call('ZADD', KEYS[2], ARGV[at], ARGV[at + 1]) end
if #ARGV > 5 then redis.call('PEXPIRE', KEYS[2], ARGV[5]) end
return 1
"""


def event_digest(event_id: str) -> bytes:
    """What is remembered of an event id: 12 bytes."""
    return hashlib.blake2b(event_id.encode(), digest_size=12).digest()


@lru_cache(maxsize=4096)
def _user(tenant: str, user_id: str) -> str:
    # The hash tag keeps all keys of a user on one node of a Redis Cluster.
    return f"{{{quote(tenant, safe='')}/{quote(user_id, safe='')}}}"


def profile_key(basis: str, tenant: str, user_id: str) -> str:
    """Where a profile lies; a new basis is a new key space."""
    return f"slop:profile:{basis}:{_user(tenant, user_id)}"


def seen_key(basis: str, tenant: str, user_id: str) -> str:
    """The recent event ids of a user, a sorted set by received time."""
    return f"slop:seen:{basis}:{_user(tenant, user_id)}"


def followers_key(basis: str) -> str:
    """Who follows a basis, and what is in the way of those who can't."""
    return f"slop:followers:{basis}"


def seen_pattern(basis: str) -> str:
    """What SCAN finds the recent event ids of all users under a basis with."""
    return f"slop:seen:{basis}:*"


def profiles_pattern(basis: str) -> str:
    """What SCAN finds the profiles of all users under a basis with."""
    return f"slop:profile:{basis}:*"


def delete_profiles(redis: Redis, basis: str, batch: int = 1_000) -> Iterator[int]:
    """Delete all that is stored of users under a basis; yields how many keys went with each batch of about `batch`."""
    for pattern in (profiles_pattern(basis), seen_pattern(basis)):
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
    """What the learner reads of a user: the profile's bytes and for every asked event id when it was seen (ms)."""

    profile: bytes | None
    seen: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Write:
    """A profile to write, with the (received ms, event id) of the signals, one at least, that are new in it."""

    user: User
    profile: Profile
    events: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class ArchivedUser:
    """All that is stored of a user under a basis: the profile's bytes, and each seen event's (digest, received ms)."""

    user: User
    profile: bytes
    seen: tuple[tuple[bytes, int], ...]


class Profiles:
    """The learner's view of the profiles under one basis."""

    def __init__(self, redis: Redis, basis: str, window_ms: int) -> None:
        """Profiles of the basis with version `basis`; event ids are remembered for `window_ms` of received time."""
        self._redis, self._basis, self._window_ms = redis, basis, window_ms

    def read(self, users: Sequence[tuple[User, Sequence[str]]]) -> list[StoredUser]:
        """Read users, each with the event ids to look for, in one round trip; one user is read atomically."""
        calls = [(user, [event_digest(event_id) for event_id in event_ids]) for user, event_ids in users]
        return [
            StoredUser(profile, tuple(None if score is None else int(float(score)) for score in seen))
            for profile, seen in self._run(_READ, calls)
        ]

    def apply(self, writes: Sequence[Write]) -> list[bool]:
        """Write profiles in one round trip, each atomically and whole.

        Returns:
            For each whether it was written; False where the stored offset is not older.
        """
        calls = [(write.user, self._arguments(write)) for write in writes]
        return [bool(applied) for applied in self._run(_APPLY, calls)]

    def _run(self, script: str, calls: Sequence[tuple[User, list[Any]]]) -> list[Any]:
        """One call of a script for each user, in one round trip; it is loaded where Redis does not know it."""
        try:
            return self._run_loaded(script, calls)
        except NoScriptError:  # then none of the calls did anything
            self._redis.script_load(script)
            return self._run_loaded(script, calls)

    def _run_loaded(self, script: str, calls: Sequence[tuple[User, list[Any]]]) -> list[Any]:
        # Not redis-py's Script objects: they cost as much again for every call.
        digest = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
        pipe: Any = self._redis.pipeline(transaction=False)
        for user, arguments in calls:
            keys = profile_key(self._basis, *user), seen_key(self._basis, *user)
            pipe.execute_command("EVALSHA", digest, len(keys), *keys, *arguments)
        return list(pipe.execute())

    def _arguments(self, write: Write) -> list[Any]:
        profile = write.profile
        # The key outlives the window by as much again: a learner that lags by less still knows what it has seen.
        forget_before, expiry = profile.updated_at_ms - self._window_ms, 2 * self._window_ms
        arguments = [profile.partition, profile.offset, profile.to_bytes(), forget_before, expiry]
        for received_ms, event_id in write.events:
            arguments += [received_ms, event_digest(event_id)]
        return arguments


class ProfileArchive:
    """The profiles of all users under one basis, for jobs that go through every one of them."""

    def __init__(self, redis: Redis, basis: str, window_ms: int) -> None:
        """As of `Profiles`."""
        self._redis, self._basis, self._window_ms = redis, basis, window_ms

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
        found = self._run(_EXPORT, [(user, []) for user in users])
        return [
            ArchivedUser(user, profile, tuple(zip(seen[::2], map(_milliseconds, seen[1::2]), strict=True)))
            for user, (profile, seen) in zip(users, found, strict=True)
            if profile is not None
        ]

    def restore(self, users: Sequence[ArchivedUser], replace: bool) -> int:
        """Store users, each atomically and whole, in one round trip; returns how many were stored.

        A user who has a profile already is left alone unless `replace`.

        Raises:
            google.protobuf.message.DecodeError: a profile's bytes are broken.
        """
        return sum(self._run(_IMPORT, [(user.user, self._arguments(user, replace)) for user in users]))

    def _arguments(self, user: ArchivedUser, replace: bool) -> list[Any]:
        source = ProfileRecord.FromString(user.profile).source
        flag, expiry = int(replace), 2 * self._window_ms
        pairs = [value for digest, received_ms in user.seen for value in (received_ms, digest)]
        return [flag, source.partition, source.offset, user.profile, expiry, *pairs]

    def _run(self, script: str, calls: Sequence[tuple[User, list[Any]]]) -> list[Any]:
        registered, pipe = self._redis.register_script(script), self._redis.pipeline(transaction=False)
        for user, arguments in calls:
            registered([profile_key(self._basis, *user), seen_key(self._basis, *user)], arguments, client=pipe)
        return list(pipe.execute())


def _milliseconds(score: bytes) -> int:
    return int(float(score))


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
