"""Interactions that wait for their post, in Redis: parked until its text or its features come, or until they expire.

What is parked lies under its post, so that a script can park it and look whether the post is there in one step. Books
tell how much is parked, by whom and until when. A book is written before what it is about is parked, and struck out
after that was taken away, so that nothing is parked which no book knows of; an entry too much is struck out when it is
due. All of it may be done twice without harm.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Any, Final, NamedTuple, Self, cast
from urllib.parse import quote

from redis import Redis

from slop.basis import Basis
from slop.redis.posts import PostRef, features_key, parked_key, text_key
from slop.redis.scripts import Call, Script
from slop.v1.interaction_pb2 import Interaction, Rejected

BOOKS: Final = "slop:parking:{books}"
DUE_KEY: Final = f"{BOOKS}:due"
READERS_KEY: Final = f"{BOOKS}:readers"
WANTED_KEY: Final = f"{BOOKS}:wanted"

# KEYS: due, readers. ARGV: most of one reader, most in all, then triples of entry, due ms and reader. Tells of each
# entry whether it is in the books now.
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

# KEYS: due, readers. ARGV: pairs of entry and reader.
_STRIKE_OUT: Final = Script("""
for at = 1, #ARGV, 2 do
  if redis.call('ZREM', KEYS[1], ARGV[at]) == 1 and redis.call('HINCRBY', KEYS[2], ARGV[at + 1], -1) <= 0 then
    redis.call('HDEL', KEYS[2], ARGV[at + 1])
  end
end
""")

# KEYS: text, features, parked. ARGV: name, record, most of one post, '1' if a text without features is not enough.
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

# KEYS: sorted set by time. ARGV: now ms, ms until others may claim it, most. Returns what is claimed.
_CLAIM: Final = Script("""
local claimed = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])
for _, member in ipairs(claimed) do redis.call('ZADD', KEYS[1], ARGV[1] + ARGV[2], member) end
return claimed
""")

# KEYS: sorted set by time. ARGV: member, its score. Removes it unless it was scored anew.
_UNCLAIM: Final = Script("""
if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1])) == tonumber(ARGV[2]) then redis.call('ZREM', KEYS[1], ARGV[1]) end
""")


@dataclass(frozen=True, slots=True)
class ParkingLimits:
    """How much may be parked, and for how long.

    Attributes:
        of_post: interactions with one post.
        of_reader: interactions of one reader.
        in_all: interactions.
        expiry_ms: from when the interaction was received.
        lease_ms: from claiming work to when another process may claim it.
    """

    of_post: int
    of_reader: int
    in_all: int
    expiry_ms: int
    lease_ms: int = 60_000


def reader_key(interaction: Interaction) -> str:
    """Whose an interaction is, as one string without spaces."""
    return f"{quote(interaction.tenant, safe='')}/{quote(interaction.user_id, safe='')}"


class Entry(NamedTuple):
    """What the books say of one interaction.

    Attributes:
        name: digest of the record, in hex, so that a record which comes again is parked once.
        post: what it waits for.
        reader: whose it is (see `reader_key`).
    """

    name: str
    post: PostRef
    reader: str

    def __str__(self) -> str:
        """As it is stored."""
        return f"{self.name} {self.post.key} {self.reader}"

    @classmethod
    def of(cls, stored: str) -> Self:
        """As it was stored."""
        name, post, reader = stored.split(" ")
        return cls(name, PostRef.of_key(post), reader)


@dataclass(frozen=True, slots=True)
class Parked:
    """An interaction that waits for its post.

    Attributes:
        entry: in the books.
        rejected: the record, as it is rejected if it expires.
    """

    entry: Entry
    rejected: Rejected

    @classmethod
    def of(cls, interaction: Interaction, rejected: Rejected, record: bytes) -> Self:
        """An interaction, rejected as `rejected` if it expires, from a record of these bytes."""
        name = blake2b(record, digest_size=16).hexdigest()
        post = PostRef(interaction.tenant, interaction.post_id)
        return cls(Entry(name, post, reader_key(interaction)), rejected)

    @property
    def interaction(self) -> Interaction:
        """What is parked."""
        return Interaction.FromString(self.rejected.payload)


class ParkOutcome(StrEnum):
    """What became of an interaction that was to be parked."""

    PARKED = "parked"
    KNOWN = "known"  # what it was to wait for is there
    FULL = "full"


class Claim(NamedTuple):
    """A post whose parked interactions are to be published again, by whom has claimed it, until `until_ms`."""

    post: PostRef
    until_ms: int


class Parking:
    """What is parked under posts, seen from a basis; every call may raise redis.exceptions.RedisError."""

    def __init__(self, redis: Redis, basis: Basis, bounds: ParkingLimits) -> None:
        self._redis, self._text_version, self._bounds = redis, basis.text_version, bounds

    @property
    def expiry_ms(self) -> int:
        """For how long after it was received an interaction may be parked."""
        return self._bounds.expiry_ms

    def park(self, parked: Sequence[Parked], *, for_features: bool) -> list[ParkOutcome]:
        """Park interactions unless what they wait for is there: the text of their post or, `for_features`, these."""
        booked = self._booked(parked)
        within = [one for one, is_booked in zip(parked, booked, strict=True) if is_booked]
        answers = _PARK.run(self._redis, [self._park_call(one, for_features) for one in within])
        outcomes = {one.entry: ParkOutcome(answer.decode()) for one, answer in zip(within, answers, strict=True)}
        self._strike_out([entry for entry, outcome in outcomes.items() if outcome is not ParkOutcome.PARKED])
        return [outcomes.get(one.entry, ParkOutcome.FULL) for one in parked]

    def of_post(self, post: PostRef) -> list[Parked]:
        """What is parked under a post, in the order in which it was received."""
        stored = cast("Mapping[bytes, bytes]", self._redis.hgetall(parked_key(post)))
        parked = [_parked(name.decode(), post, value) for name, value in stored.items()]
        return sorted(parked, key=_received)

    def claim_due(self, most: int) -> tuple[list[Parked], list[Entry]]:
        """Interactions that have expired and that nobody else is at work on, and entries that nothing is under."""
        _, members = self._claim(DUE_KEY, most)
        entries = [Entry.of(member) for member in members]
        pipe = self._redis.pipeline(transaction=False)
        for entry in entries:
            pipe.hget(parked_key(entry.post), entry.name)
        stored = list(zip(entries, cast("list[bytes | None]", pipe.execute()), strict=True))
        due = [Parked(entry, Rejected.FromString(value)) for entry, value in stored if value is not None]
        return due, [entry for entry, value in stored if value is None]

    def remove(self, entries: Sequence[Entry]) -> None:
        """Interactions were published, again or as rejected."""
        pipe = self._redis.pipeline(transaction=False)
        for entry in entries:
            pipe.hdel(parked_key(entry.post), entry.name)
        pipe.execute()
        self._strike_out(entries)

    def want(self, posts: Iterable[PostRef]) -> None:
        """What posts were waited for is there: what is parked under them is to be published again."""
        now_ms = _now_ms()
        if scores := {post.key: now_ms for post in posts}:
            self._redis.zadd(WANTED_KEY, scores)

    def claim_wanted(self, most: int) -> list[Claim]:
        """Posts that are wanted and that nobody else is at work on."""
        until_ms, members = self._claim(WANTED_KEY, most)
        return [Claim(PostRef.of_key(key), until_ms) for key in members]

    def finish(self, claims: Sequence[Claim]) -> None:
        """Claimed posts are done with; one that was wanted again meanwhile still is."""
        _UNCLAIM.run(self._redis, [Call([WANTED_KEY], [claim.post.key, claim.until_ms]) for claim in claims])

    def size(self) -> int:
        """How many interactions are parked."""
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


def _parked(name: str, post: PostRef, value: bytes) -> Parked:
    rejected = Rejected.FromString(value)
    interaction = Interaction.FromString(rejected.payload)
    return Parked(Entry(name, post, reader_key(interaction)), rejected)


def _received(parked: Parked) -> tuple[int, int]:
    return parked.interaction.received_at_ms, parked.rejected.source_offset


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
