"""Kafka offsets that are committed only once Redis has persisted what they stand for.

Redis with `appendfsync everysec` loses its last second or two in a crash. If an offset were committed at once, records
whose results are lost would count as done. So a worker that reads from Kafka and writes to Redis polls and commits by
`DurableCommits`, not by its `Subscription`:

    commits = DurableCommits(subscription, redis, WhenLost.BEGINNING, settings.redis_persisted_after_s)
    while working:
        records = commits.poll(wait_s, max_records)   # instead of subscription.poll
        ...                                           # write by commits.redis; a record may come twice
        if not commits.done():                        # instead of subscription.commit; never waits
            ...                                       # Redis was emptied meanwhile: take back what was written
    commits.close()                                   # before subscription.close

When offsets are committed: `done` writes to Redis how far the worker has got (`slop.kafka.kept_offsets`), after
everything that the worker wrote itself. A crash cuts Redis' append-only file at its end; if this number is still in the
file, so is all that was written before it. A later call of `poll` commits the offsets, once WAITAOF (Redis 7.2, Valkey)
confirms that the number is on disk. A Redis without WAITAOF is trusted to have persisted what is older than `after_s`.
A Redis without an append-only file persists nothing, and then offsets are committed at once.

When the worker goes back: every commit notes the run of Redis under which it was made. `poll` may find another run than
the one that it worked with, or than the one that a partition was committed under. Then it sets the partition back to
the offset that this Redis has kept, or to the committed one if that is lower; `WhenLost` says what it does if this
Redis has kept none. Nothing later is committed before that, and nothing later is written: `commits.redis` is bound to
the run that the last poll has seen, and raises OtherRun if another one answers. The worker then gives the batch up, and
the next poll goes back.

A Redis that was emptied within its run (FLUSHALL) has lost what `done` wrote. The next poll notices and goes back, as
from a Redis that comes back empty. If it was emptied since the last poll, `done` returns False.

All this holds for a single Redis. A replica that takes over may lack what the former one had on disk; this is not
noticed.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import structlog
from kafka.errors import KafkaError
from kafka.structs import TopicPartition
from redis import Redis
from redis.exceptions import RedisError

from slop.kafka.kept_offsets import KeptOffsets
from slop.kafka.records import ConsumerRecord
from slop.kafka.subscription import Committed, Subscription
from slop.redis.persistence import OtherRun, Persistence, RedisState, RunBoundRedis

SETTLE_S: Final = 3.0
LOOK_S: Final = 0.05

log = structlog.get_logger(__name__)


class WhenLost(StrEnum):
    """What to do when Redis knows nothing of what was committed, since it was emptied or had persisted nothing."""

    BEGINNING = "beginning"
    """Read all that is there again."""
    STAY = "stay"
    """Go on where it was, and say so."""


@dataclass(frozen=True, slots=True)
class PendingCommit:
    """Offsets that are committed once what was written before is persisted.

    Attributes:
        offsets: to commit.
        epochs: of the logs that they are of, by topic.
        connection: number of the connection to Redis that asks.
        at: when it began to ask, in seconds of the monotonic clock.
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
            after_s: seconds after which a Redis without WAITAOF is trusted to have persisted what was written.
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
        self._kept = KeptOffsets(redis, self._group, self._epoch)

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
            if not self._kept.keep(offsets, self._run_bound.redis):
                return False
            self._done |= offsets
            if self._asked is None:
                self._ask()
        except (OtherRun, RedisError, KafkaError) as error:  # it is committed with what comes next, or comes again
            log.warning("offsets not committed yet", error=f"{type(error).__name__}: {error}")
        return True

    def was_read_before(self, record: ConsumerRecord) -> bool:
        """Whether the group had passed a record already, before it went back or before this process was started."""
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
            rewound = self._go_back(committed, self._kept.of(committed))
        elif self._kept.is_emptied():
            log.warning("Redis was emptied", group=self._group)
            committed = self._subscription.committed()
            rewound = self._go_back(committed, self._kept.of(committed))
        elif self._assigned:
            kept = self._kept.of(self._assigned)
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
            if asked.connection == look.connection:
                self._commit(asked)
            else:  # another connection can't tell whether what the former one wrote is persisted
                self._done = asked.offsets | self._done
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
            connection = self._persistence.write(self._kept.key)
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
        self._kept.forget()
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

    def _lost(self, run: str) -> dict[TopicPartition, Committed]:
        """The assigned partitions that were committed under another run, or under this one before it was emptied."""
        found = self._kept.found(self._assigned)
        return {
            at: mark
            for at, mark in self._assigned.items()
            if mark.note not in {"", run} or (mark.note and mark.offset and found[at] is None)
        }

    def _epoch(self, partition: TopicPartition) -> int:
        return self._subscription.epoch(partition.topic)
