"""Parking: interactions that wait in Redis until the text or the features of their post come, or until they expire.

An interaction is parked under its post, so that one script can look whether the post is there and park it if not, in
one step. The *books* are keys that list all parked interactions: when each is due to expire, and how many each reader
has. An entry is written into the books before its interaction is parked, and struck out after the interaction was
removed. So a crash in between leaves an entry without an interaction, which is struck out when it is due, and never an
interaction without an entry. All calls may be repeated.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple, cast

from redis import Redis

from slop.basis import Basis
from slop.redis.parked import Entry, Parked
from slop.redis.posts import PostRef, features_key, parked_key, text_key
from slop.redis.scripts import Call, Script
from slop.v1.interaction_pb2 import Interaction, Rejected

BOOKS: Final = "slop:parking:{books}"
DUE_KEY: Final = f"{BOOKS}:due"
READERS_KEY: Final = f"{BOOKS}:readers"
WANTED_KEY: Final = f"{BOOKS}:wanted"

# KEYS: due, readers. ARGV: most of one reader, most in all, then for each entry: entry, time when it is due in ms,
# reader. Returns for each 1 if it is in the books now, 0 if there is no room.
_BOOK: Final = Script("""
local booked = {}
for at = 3, #ARGV, 3 do
  local entry, reader = ARGV[at], ARGV[at + 2]
  if redis.call('ZSCORE', KEYS[1], entry) then
    booked[#booked + 1] = 1
  elseif redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2])
    or tonumber(redis.call('HGET', KEYS[2], reader) or '0') >= tonumber(ARGV[1]) then
    booked[#booked + 1] = 0
  else
    redis.call('ZADD', KEYS[1], ARGV[at + 1], entry)
    redis.call('HINCRBY', KEYS[2], reader, 1)
    booked[#booked + 1] = 1
  end
end
return booked
""")

# KEYS: due, readers. ARGV: for each entry: entry, reader.
_STRIKE_OUT: Final = Script("""
for at = 1, #ARGV, 2 do
  if redis.call('ZREM', KEYS[1], ARGV[at]) == 1 and redis.call('HINCRBY', KEYS[2], ARGV[at + 1], -1) <= 0 then
    redis.call('HDEL', KEYS[2], ARGV[at + 1])
  end
end
""")

# KEYS: text, features, parked. ARGV: name, record, most of one post, '1' if it waits for features, '0' for the text.
# Returns a ParkOutcome.
_PARK: Final = Script("""
if redis.call('HEXISTS', KEYS[3], ARGV[1]) == 1 then return 'parked' end
local digest = redis.call('HGET', KEYS[1], 'digest')
if digest then
  local features = ARGV[4] == '1' and redis.call('GET', KEYS[2])
  if ARGV[4] == '0' or (features and features:sub(1, #digest) == digest) then return 'known' end
end
if redis.call('HLEN', KEYS[3]) >= tonumber(ARGV[3]) then return 'full' end
redis.call('HSET', KEYS[3], ARGV[1], ARGV[2])
return 'parked'
""")

# KEYS: a sorted set by time in ms. ARGV: now, the lease, most. Claims up to `most` members whose time has come: others
# may claim them only after the lease. Returns them.
_CLAIM: Final = Script("""
local claimed = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])
for _, member in ipairs(claimed) do redis.call('ZADD', KEYS[1], ARGV[1] + ARGV[2], member) end
return claimed
""")

# KEYS: a sorted set by time in ms. ARGV: member, its time. Removes it, unless it has got another time.
_UNCLAIM: Final = Script("""
if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1])) == tonumber(ARGV[2]) then redis.call('ZREM', KEYS[1], ARGV[1]) end
""")


@dataclass(frozen=True, slots=True)
class ParkingLimits:
    """How many interactions may be parked, and for how long.

    Attributes:
        of_post: how many under one post.
        of_reader: how many of one reader.
        in_all: how many altogether.
        expiry_ms: how long after it was received an interaction may be parked, in milliseconds.
        lease_ms: how long after a process has claimed work no other may claim it, in milliseconds.
    """

    of_post: int
    of_reader: int
    in_all: int
    expiry_ms: int
    lease_ms: int = 60_000


class ParkOutcome(StrEnum):
    """What became of an interaction that was to be parked."""

    PARKED = "parked"
    KNOWN = "known"  # not parked: what it would wait for is there
    FULL = "full"  # not parked: there is no room


class Claim(NamedTuple):
    """A post whose parked interactions a process has to publish again.

    Attributes:
        post: that was claimed.
        until_ms: when others may claim it, in milliseconds since the Unix epoch.
    """

    post: PostRef
    until_ms: int


class Parking:
    """The parked interactions, for a featurizer under one basis. Every call may raise redis.exceptions.RedisError."""

    def __init__(self, redis: Redis, basis: Basis, bounds: ParkingLimits) -> None:
        self._redis, self._text_version, self._bounds = redis, basis.text_version, bounds

    @property
    def expiry_ms(self) -> int:
        """How long after it was received an interaction may be parked, in milliseconds."""
        return self._bounds.expiry_ms

    def park(self, parked: Sequence[Parked], *, for_features: bool) -> list[ParkOutcome]:
        """Park interactions, unless what they wait for is there.

        Args:
            parked: the interactions.
            for_features: whether they wait for the text features of their post; else they wait for its text.

        Returns:
            what became of each, in their order.
        """
        booked = self._booked(parked)
        within = [one for one, is_booked in zip(parked, booked, strict=True) if is_booked]
        answers = _PARK.run(self._redis, [self._park_call(one, for_features) for one in within])
        outcomes = {one.entry: ParkOutcome(answer.decode()) for one, answer in zip(within, answers, strict=True)}
        self._strike_out([entry for entry, outcome in outcomes.items() if outcome is not ParkOutcome.PARKED])
        return [outcomes.get(one.entry, ParkOutcome.FULL) for one in parked]

    def of_post(self, post: PostRef) -> list[Parked]:
        """The interactions parked under a post, in the order in which they were received."""
        stored = cast("Mapping[bytes, bytes]", self._redis.hgetall(parked_key(post)))
        parked = [Parked.of_stored(name.decode(), post, value) for name, value in stored.items()]
        return sorted(parked, key=_received)

    def claim_due(self, most: int) -> tuple[list[Parked], list[Entry]]:
        """Claim up to `most` entries that are due; returns their interactions, and those entries that have none."""
        _, members = self._claim(DUE_KEY, most)
        entries = [Entry.of(member) for member in members]
        pipe = self._redis.pipeline(transaction=False)
        for entry in entries:
            pipe.hget(parked_key(entry.post), entry.name)
        stored = list(zip(entries, cast("list[bytes | None]", pipe.execute()), strict=True))
        due = [Parked(entry, Rejected.FromString(value)) for entry, value in stored if value is not None]
        return due, [entry for entry, value in stored if value is None]

    def remove(self, entries: Sequence[Entry]) -> None:
        """Remove interactions that were published, again or as rejected."""
        pipe = self._redis.pipeline(transaction=False)
        for entry in entries:
            pipe.hdel(parked_key(entry.post), entry.name)
        pipe.execute()
        self._strike_out(entries)

    def want(self, posts: Iterable[PostRef]) -> None:
        """Mark posts as wanted: what is parked under them is to be published again."""
        now_ms = _now_ms()
        if scores := {post.key: now_ms for post in posts}:
            self._redis.zadd(WANTED_KEY, scores)

    def claim_wanted(self, most: int) -> list[Claim]:
        """Claim up to `most` posts that are wanted."""
        until_ms, members = self._claim(WANTED_KEY, most)
        return [Claim(PostRef.of_key(key), until_ms) for key in members]

    def finish(self, claims: Sequence[Claim]) -> None:
        """Mark claimed posts as no longer wanted, except those that were marked as wanted again meanwhile."""
        _UNCLAIM.run(self._redis, [Call([WANTED_KEY], [claim.post.key, claim.until_ms]) for claim in claims])

    def size(self) -> int:
        """How many interactions are parked altogether."""
        return self._redis.zcard(DUE_KEY)

    def _booked(self, parked: Sequence[Parked]) -> list[int]:
        bounds = self._bounds
        arguments: list[Any] = []
        for one in parked:
            due_ms = one.interaction.received_at_ms + bounds.expiry_ms
            arguments += [str(one.entry), due_ms, one.entry.reader]
        call = Call([DUE_KEY, READERS_KEY], [bounds.of_reader, bounds.in_all, *arguments])
        [booked] = _BOOK.run(self._redis, [call])
        return cast("list[int]", booked)

    def _park_call(self, one: Parked, for_features: bool) -> Call:
        post, record = one.entry.post, one.rejected.SerializeToString(deterministic=True)
        keys = [text_key(post), features_key(self._text_version, post), parked_key(post)]
        return Call(keys, [one.entry.name, record, self._bounds.of_post, int(for_features)])

    def _strike_out(self, entries: Sequence[Entry]) -> None:
        if entries:
            pairs = [value for entry in entries for value in (str(entry), entry.reader)]
            _STRIKE_OUT.run(self._redis, [Call([DUE_KEY, READERS_KEY], pairs)])

    def _claim(self, key: str, most: int) -> tuple[int, list[str]]:
        now_ms, lease_ms = _now_ms(), self._bounds.lease_ms
        [claimed] = _CLAIM.run(self._redis, [Call([key], [now_ms, lease_ms, most])])
        return now_ms + lease_ms, [member.decode() for member in claimed]


def all_parked(redis: Redis, batch: int = 1_000) -> Iterator[Interaction]:
    """All interactions that are parked. One that is parked or removed meanwhile may be missing, and one may come twice.

    Raises:
        redis.exceptions.RedisError: Redis is away.
    """
    cursor = None
    while cursor != 0:
        cursor, found = redis.zscan(DUE_KEY, cursor or 0, count=batch)
        pipe = redis.pipeline(transaction=False)
        for member, _ in cast("list[tuple[bytes, float]]", found):
            entry = Entry.of(member.decode())
            pipe.hget(parked_key(entry.post), entry.name)
        for value in cast("list[bytes | None]", pipe.execute()):
            if value is not None:
                yield Interaction.FromString(Rejected.FromString(value).payload)


def _received(parked: Parked) -> tuple[int, int]:
    return parked.interaction.received_at_ms, parked.rejected.source_offset


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
