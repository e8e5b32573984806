"""Kafka offsets that stand only for what Redis has surely persisted.

Redis with appendfsync everysec loses its last second or two in a crash. An offset that was committed at once would say
that what is lost was done. So a worker that writes to Redis what it reads from Kafka uses `DurableCommits` between
itself and its `Subscription`:

    commits = DurableCommits(subscription, redis, WhenLost.BEGINNING, settings.redis_persisted_after_s)
    while working:
        records = commits.poll(wait_s, max_records)   # instead of subscription.poll
        ...                                           # write by commits.redis; what comes twice must do no harm
        if not commits.done():                        # instead of subscription.commit; never waits
        ...                                       # Redis was emptied meanwhile: take back what was written
    commits.close()                                   # before subscription.close

`done` tells Redis itself how far the worker has got, after what it wrote (`kept_key`). A crash cuts Redis' append-only
file at its end, so that who finds this number in it finds everything before it too. Offsets are committed by a later
call of `poll`, once WAITAOF (Redis 7.2, Valkey) says that this number is on disk; a Redis without WAITAOF is trusted
with what is older than `after_s`. One without an append-only file persists nothing, and nothing is waited for.

Every commit notes the run of Redis that it was made under. Who finds another run than the one that it worked with, or
than the one that its partitions were committed under, goes back to what that Redis knows of, and to what was committed
at the most: before anything later is committed, and before anything later is written, where the order matters.
`commits.redis` sees to that: it writes to the run that the last poll has seen, and raises OtherRun where it finds
another one; then the batch is to be given up, and the next poll goes back. All this holds of one Redis; a replica that
takes over may lack what was on the disk of the former one, and is taken at its word.

A Redis that was emptied within its run (FLUSHALL) has lost what `done` told it. The next poll notices and goes back, as
from a Redis that comes back empty. If it was emptied since the last poll, `done` says so by returning False.
"""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, cast

import structlog
from kafka.errors import KafkaError
from kafka.structs import TopicPartition
from redis import Redis
from redis.exceptions import RedisError

from slop.kafka.records import ConsumerRecord
from slop.kafka.subscription import Committed, Subscription
from slop.redis.persistence import OtherRun, Persistence, RedisState, RunBoundRedis
from slop.redis.scripts import Call, Script

KEPT_TTL_S: Final = 90 * 24 * 3600
SETTLE_S: Final = 3.0
LOOK_S: Final = 0.05

# KEYS: how far a group has got. ARGV: expiry in s, number of fields that were written before, these fields, then each
# field to write and its value. Writes them and returns 1; returns 0 and writes nothing if a former field is missing.
_KEEP: Final = Script("""
local former = tonumber(ARGV[2])
for at = 3, 2 + former do
  if redis.call('HEXISTS', KEYS[1], ARGV[at]) == 0 then return 0 end
end
for at = 3 + former, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1]) end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
""")

log = structlog.get_logger(__name__)


class WhenLost(StrEnum):
    """What to do when Redis knows nothing of what was committed, since it was emptied or had persisted nothing."""

    BEGINNING = "beginning"
    """Read all that is there again."""
    STAY = "stay"
    """Go on where it was, and say so."""


def kept_key(group: str) -> str:
    """Where Redis keeps how far a consumer group has got: by topic/partition, the log epoch and the next offset."""
    return f"slop:kept:{group}"


@dataclass(frozen=True, slots=True)
class PendingCommit:
    """Offsets that are committed once what was written before is persisted.

    Attributes:
        offsets: to commit.
        epochs: the logs that they are of, by topic.
        connection: that asks.
        at: when, on the monotonic clock.
    """

    offsets: dict[TopicPartition, int]
    epochs: dict[str, int]
    connection: int
    at: float


class DurableCommits:
    """Between a worker and its subscription: offsets are committed once Redis has persisted what they stand for."""

    def __init__(self, subscription: Subscription, redis: Redis, when_lost: WhenLost, after_s: float) -> None:
        """Connects to nothing yet.

        Args:
            subscription: of the worker; its offsets are committed by nobody else.
            redis: that the worker writes to.
            when_lost: what to do where Redis knows nothing of what was committed.
            after_s: a Redis without WAITAOF has persisted what was written so long ago, seconds.
        """
        self._subscription, self._redis, self._persistence = subscription, redis, Persistence(redis)
        self._run_bound = RunBoundRedis(redis)
        self._group = subscription.group
        self._when_lost, self._after_s = when_lost, after_s
        self._run, self._is_durable = "", True
        self._held: list[ConsumerRecord] = []
        self._assigned: dict[TopicPartition, Committed] = {}
        self._done: dict[TopicPartition, int] = {}
        self._asked: PendingCommit | None = None
        self._reached: dict[tuple[TopicPartition, int], int] = {}
        self._told: set[TopicPartition] = set()  # what this Redis was told of, and must know of

    @property
    def redis(self) -> Redis:
        """What to write with: every call may raise OtherRun."""
        return self._run_bound.redis

    def poll(self, wait_s: float, max_records: int) -> list[ConsumerRecord]:
        """As `Subscription.poll`; commits what has become durable, and goes back where Redis has lost something.

        Raises:
            kafka.errors.KafkaError, redis.exceptions.RedisError: call it again after a pause; no record is left out.
        """
        try:
            if not self._held:  # polls even while Redis is away, to stay in the group
                self._held = self._subscription.poll(wait_s, max_records)
            self._assigned |= self._subscription.assigned()
            rewound = self._looked_after()
        except KafkaError:
            self._held, self._asked, self._done = [], None, {}
            self._subscription.close()  # what is not committed comes again
            raise
        records, self._held = self._held, []
        return [record for record in records if TopicPartition(record.topic, record.partition) not in rewound]

    def done(self) -> bool:
        """Say that what was polled last is processed and written to Redis.

        Returns:
            False if Redis was emptied since the last poll. The next poll goes back; what is written until then would be
            made from nothing, and must be taken back.
        """
        try:
            offsets = self._subscription.done()
            self._reach(offsets)
            if not self._keep(offsets):
                return False
            self._done |= offsets
            if self._asked is None:
                self._ask()
        except (OtherRun, RedisError, KafkaError) as error:  # it is committed with what comes next, or comes again
            log.warning("offsets not committed yet", error=f"{type(error).__name__}: {error}")
        return True

    def was_read_before(self, record: ConsumerRecord) -> bool:
        """Whether the group had got beyond a record already, before it went back or a process was started again."""
        at = TopicPartition(record.topic, record.partition)
        return record.offset < self._reached.get((at, self._epoch(at)), 0)

    def close(self) -> None:
        """Commit what is done, within SETTLE_S; what is not committed then comes again to the next process."""
        deadline = time.monotonic() + SETTLE_S
        try:
            while (self._asked or self._done) and time.monotonic() < deadline:
                self._settle(self._persistence.look(persisted=self._asked is not None))
                time.sleep(LOOK_S)
        except (RedisError, KafkaError) as error:
            log.warning("offsets not committed", error=f"{type(error).__name__}: {error}")
        finally:
            self._persistence.close()
            self._run_bound.close()

    def _looked_after(self) -> set[TopicPartition]:
        """Look which run of Redis answers; returns the partitions that were set back because of it."""
        look = self._persistence.look(persisted=self._asked is not None)
        self._is_durable = look.is_durable
        rewound: set[TopicPartition] = set()
        if self._run and look.run != self._run:
            log.warning("another run of Redis", group=self._group, before=self._run, now=look.run)
            committed = self._subscription.committed()
            rewound = self._go_back(committed, self._kept(committed))
        elif self._is_emptied():
            log.warning("Redis was emptied", group=self._group)
            committed = self._subscription.committed()
            rewound = self._go_back(committed, self._kept(committed))
        elif self._assigned:
            kept = self._kept(self._assigned)
            self._reach({at: offset for at, offset in kept.items() if offset is not None})
            rewound = self._go_back(self._lost(look.run), kept)
        self._run, self._assigned = look.run, {}
        self._run_bound.move(look.run)
        self._settle(look)
        return rewound

    def _settle(self, look: RedisState) -> None:
        """Commit what Redis has persisted, then ask for the rest."""
        asked = self._asked
        if asked is not None and (asked.connection != look.connection or self._is_persisted(asked, look)):
            self._asked = None
            if (
                asked.connection != look.connection
            ):  # another connection knows nothing of what was written by the former
                self._done = asked.offsets | self._done
            else:
                self._commit(asked)
        if self._asked is None and self._done:
            self._ask()

    def _is_persisted(self, asked: PendingCommit, look: RedisState) -> bool:
        if not look.is_durable:
            return True
        if look.persisted is None:
            return look.is_sound and time.monotonic() - asked.at > self._after_s
        return look.persisted

    def _ask(self) -> None:
        """Begin to ask whether all that was written until now is persisted."""
        offsets, self._done = self._done, {}
        epochs = {at.topic: self._subscription.epoch(at.topic) for at in offsets}
        try:
            connection = self._persistence.write(kept_key(self._group))
        except RedisError:
            self._done = offsets
            raise
        self._asked = PendingCommit(offsets, epochs, connection, time.monotonic())
        if not self._is_durable:
            self._commit(self._asked)
            self._asked = None

    def _commit(self, asked: PendingCommit) -> None:
        offsets = {at: n for at, n in asked.offsets.items() if asked.epochs[at.topic] == self._epoch(at)}
        try:
            self._subscription.commit(offsets, note=self._run)
        except KafkaError as error:  # what is done stays so; it is committed with what comes next
            log.warning("offsets not committed", error=f"{type(error).__name__}: {error}")
            self._done = offsets | self._done

    def _go_back(
        self, committed: Mapping[TopicPartition, Committed], kept: Mapping[TopicPartition, int | None]
    ) -> set[TopicPartition]:
        """Set partitions back to what this Redis knows of, and to what was committed at the most."""
        if not committed:
            return set()
        self._asked, self._done = None, {}
        self._told.clear()
        targets = {at: self._target(mark.offset, kept[at]) for at, mark in committed.items()}
        for at, target in targets.items():
            log.warning("going back", partition=f"{at.topic}/{at.partition}", to=target, committed=committed[at].offset)
        if self._when_lost is WhenLost.STAY and any(kept[at] is None and committed[at].offset for at in targets):
            log.error("Redis has lost everything; `python -m jobs relearn` learns it again", group=self._group)
        self._subscription.rewind(targets, "redis")
        return set(targets)

    def _target(self, committed: int | None, kept: int | None) -> int | None:
        """The offset to go back to; None for the beginning."""
        if committed is None or kept is None:
            return committed if self._when_lost is WhenLost.STAY else None
        return min(kept, committed)

    def _reach(self, offsets: Mapping[TopicPartition, int]) -> None:
        for at, offset in offsets.items():
            log_of = at, self._epoch(at)
            self._reached[log_of] = max(offset, self._reached.get(log_of, 0))

    def _keep(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """Write to Redis how far the group has got; False, and nothing is written, if Redis was emptied."""
        if not offsets:
            return True
        former = [_field(at) for at in self._told]
        values = [x for at, offset in offsets.items() for x in (_field(at), f"{self._epoch(at):08x} {offset}")]
        call = Call([kept_key(self._group)], [KEPT_TTL_S, len(former), *former, *values])
        [kept] = _KEEP.run(self._run_bound.redis, [call])
        if kept:
            self._told |= offsets.keys()
        return bool(kept)

    def _is_emptied(self) -> bool:
        """Whether this run of Redis has lost what it was told by this process."""
        return None in self._found(self._told).values()

    def _lost(self, run: str) -> dict[TopicPartition, Committed]:
        """Of the partitions assigned: those committed under another run, or under this one, which was emptied since."""
        found = self._found(self._assigned)
        return {
            at: mark
            for at, mark in self._assigned.items()
            if mark.note not in {"", run} or (mark.note and mark.offset and found[at] is None)
        }

    def _kept(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int | None]:
        """How far Redis knows to have got in the logs that there are; None: it knows nothing of a partition."""
        return {at: self._offset(at, value) for at, value in self._found(partitions).items()}

    def _found(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, bytes | None]:
        """What Redis was told of partitions, of whichever log; None: nothing."""
        if not partitions:
            return {}
        found = cast("list[bytes | None]", self._redis.hmget(kept_key(self._group), [_field(at) for at in partitions]))
        return dict(zip(partitions, found, strict=True))

    def _offset(self, partition: TopicPartition, kept: bytes | None) -> int | None:
        epoch, _, offset = (kept or b"").decode().partition(" ")
        return int(offset) if epoch == f"{self._epoch(partition):08x}" else None

    def _epoch(self, partition: TopicPartition) -> int:
        return self._subscription.epoch(partition.topic)


def _field(partition: TopicPartition) -> str:
    return f"{partition.topic}/{partition.partition}"
