"""Members of consumer groups as SLOP's workers use them: bounded waits, offsets committed by hand."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import structlog
from kafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError
from kafka.structs import MemberState, OffsetAndMetadata, TopicPartition

from kit.progress import Progress
from slop.kafka.brokers import create_topics, require_broker
from slop.kafka.consumer_metrics import LAG_RECORDS, REWINDS, SKIPPED_RECORDS, UNCOMMITTED_RECORDS, begin_series
from slop.kafka.consumers import await_partitions, new_consumer
from slop.kafka.log_epochs import LogEpochs
from slop.kafka.records import ConsumerRecord
from slop.kafka.topics import Topic
from slop.settings import CommonSettings

COMMIT_MS: Final = 5_000
POSITION_MS: Final = 10
CLOSE_MS: Final = 3_000
BACKGROUND_FETCH_WAIT_MS: Final = 500
LOOK_AT_LOG_S: Final = 2.0
SESSIONS_TO_JOIN: Final = 5

EPOCH: Final = re.compile("[0-9a-f]{8}")

log = structlog.get_logger(__name__)


class NotJoined(RuntimeError):  # noqa: N818
    """The brokers have not admitted this process to its consumer group yet."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What a group has committed of a partition.

    Attributes:
        offset: of the next record; None before the first commit.
        note: what `Subscription.commit` noted beside it; always empty on brokers that keep no notes, as Tansu.
    """

    offset: int | None
    note: str = ""


class Subscription:
    """A member of a consumer group, which connects when it is polled and again after an error.

    Offsets are committed only by `commit`, so a record that was polled and not committed is delivered again after a
    crash. Only `check` and `check_progress` may be called from another thread.

    A topic that was deleted and created again, or lost with its broker's volume, is another log whose offsets begin
    anew. It is read from its beginning, whatever was committed of the former one; `epoch` tells the two apart.
    """

    def __init__(
        self,
        settings: CommonSettings,
        group: str,
        topics: Sequence[Topic],
        instance: str = "",
        fetch_wait_ms: int | None = None,
    ) -> None:
        """Does not connect yet.

        Args:
            settings: where the brokers are, and the session's timeout.
            group: the consumer group.
            topics: created if missing.
            instance: a name that no other member of the group has; with it a restarted process takes its predecessor's
                place at once instead of after the session's timeout.
            fetch_wait_ms: instead of `settings.kafka_fetch_wait_ms`.
        """
        self._settings, self.group, self._instance = settings, group, instance
        self._fetch_wait_ms = fetch_wait_ms or settings.kafka_fetch_wait_ms
        self._topics = {topic.name: topic for topic in topics}
        self._consumer: Any = None
        self._log: LogEpochs | None = None
        self._epochs: dict[str, int] = {}
        self._looked_at = self._joined_at = 0.0
        self._next: dict[TopicPartition, int | None] = {}  # of each partition that is ours, the offset that comes next
        self._assigned: dict[TopicPartition, Committed] = {}
        self._polled: dict[TopicPartition, int] = {}
        self._uncommitted: dict[TopicPartition, int] = {}
        self._progress, self._taken = Progress(settings.stalled_s), 0
        begin_series(group, self._topics)

    def poll(self, wait_s: float, max_records: int) -> list[ConsumerRecord]:
        """The next records, as soon as there are any; none if there are none within `wait_s`.

        A call means that the records of the call before were worked on; progress (`kit.progress`) counts them then.

        Raises:
            kafka.errors.KafkaError: the brokers are away or refuse; nothing is lost, call it again after a pause.
        """
        done, self._taken = self._taken, 0
        try:
            if self._consumer is None:
                self._connect()
            polled = self._consumer.poll(timeout_ms=round(1000 * wait_s), max_records=max_records)
            self._require_joined()
            wanted = self._wanted(look=bool(polled))
            polled = {at: records for at, records in polled.items() if at in wanted}
            for partition, records in polled.items():
                self._expect(partition, records)
            self._polled = {partition: len(records) for partition, records in polled.items()}
            behind = self._show_lag()
        except KafkaError:
            self.close()
            raise
        self._taken = sum(self._polled.values())
        self._progress.came_round(done, behind)
        return list(chain.from_iterable(polled.values()))

    def epoch(self, topic_name: str) -> int:
        """The log epoch of the records that were polled last (`slop.kafka.log_epochs`); never 0.

        The topic's id is looked up before the first poll and after every poll that returned records. If it is the same
        both times, the records in between are of that log. If not, they are dropped, and the new log is read from its
        beginning. Two cases are not covered. In a cluster, a broker that does not know of the new topic yet may answer
        with the former id. And a broker that has lost its last records (a power cut, with one replica) gives their
        offsets to other records under the same id; `poll` logs an error when an offset comes a second time.

        Raises:
            KeyError: nothing was polled yet, or the topic is none of this subscription's.
        """
        return self._epochs[topic_name]

    def done(self) -> dict[TopicPartition, int]:
        """Say that the records polled last are processed; returns the offsets that may be committed now."""
        for partition, records in self._polled.items():
            self._uncommitted[partition] = self._uncommitted.get(partition, 0) + records
        self._polled = {}
        self._show_lag()
        return {at: self._position(at, offset) for at, offset in self._next.items() if offset is not None}

    def commit(self, offsets: Mapping[TopicPartition, int] | None = None, note: str = "") -> None:
        """Commit offsets that `done` has returned, by default those of all records polled; `note` is kept beside them.

        Partitions that this member no longer has are left out.

        Raises:
            kafka.errors.KafkaError: nothing is committed; a later commit makes up for it.
        """
        offsets = self.done() if offsets is None else offsets
        ours = {at: offset for at, offset in offsets.items() if at in self._next}
        notes = {name: f"{epoch:08x} {note}".strip() for name, epoch in self._epochs.items()}
        commits = {at: OffsetAndMetadata(offset, notes[at.topic], -1) for at, offset in ours.items()}
        self._connected().commit(commits, timeout_ms=COMMIT_MS)
        for partition, offset in ours.items():
            self._uncommitted[partition] = max(0, (self._next[partition] or offset) - offset)
        self._show_lag()

    def assigned(self) -> dict[TopicPartition, Committed]:
        """The partitions that this member was given since the last call, with what was committed of them."""
        assigned, self._assigned = self._assigned, {}
        return assigned

    def committed(self) -> dict[TopicPartition, Committed]:
        """What is committed of all partitions that this member has.

        Raises:
            kafka.errors.KafkaError: the brokers are away.
        """
        return {partition: self._committed(partition)[0] for partition in self._next}

    def rewind(self, offsets: Mapping[TopicPartition, int | None], reason: str) -> None:
        """Read partitions again from offsets, or from their beginnings (None); the caller drops what it polled last.

        Raises:
            kafka.errors.KafkaError: it is not connected.
        """
        consumer = self._connected()
        for partition, offset in offsets.items():
            if offset is None:
                consumer.seek_to_beginning(partition)
            else:
                consumer.seek(partition, offset)
            self._next[partition] = offset
            self._polled.pop(partition, None)
            self._uncommitted.pop(partition, None)
            REWINDS.labels(self.group, partition.topic, reason).inc()

    def check(self) -> None:
        """Look whether a broker answers and this process is a member of the group.

        Raises:
            NotJoined: it is not.
            kafka.errors.KafkaError: no broker answers.
        """
        require_broker(self._settings.kafka_bootstrap)
        consumer = self._consumer
        if consumer is None or consumer.group_metadata().state is not MemberState.STABLE:
            raise NotJoined(f"not yet a member of the group {self.group}")

    def check_progress(self) -> None:
        """Raise kit.progress.Stalled if there are records and none was done for too long, or nobody polls any more."""
        self._progress.check()

    def close(self) -> None:
        """Leave the group, without committing."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close(autocommit=False, timeout_ms=CLOSE_MS)
        log_epochs, self._log = self._log, None
        if log_epochs is not None:
            log_epochs.close()
        self._next, self._assigned, self._polled, self._uncommitted = {}, {}, {}, {}

    def _require_joined(self) -> None:
        """Check that the group admits this client in time. If not, a new one is made: kafka-python 3.0.12 may try on.

        Raises:
            kafka.errors.KafkaTimeoutError: it has been no member for SESSIONS_TO_JOIN times the session's timeout.
        """
        now = time.monotonic()
        if self._consumer.group_metadata().state is MemberState.STABLE:
            self._joined_at = now
        elif now - self._joined_at > SESSIONS_TO_JOIN * self._settings.kafka_session_timeout_ms / 1000:
            raise KafkaTimeoutError(f"not admitted to the group {self.group} in time; it is joined anew")

    def _wanted(self, *, look: bool) -> set[TopicPartition]:
        """The partitions whose records are returned: not those of another log, which are set back to its beginning."""
        ours: set[TopicPartition] = self._consumer.assignment()
        look |= time.monotonic() - self._looked_at > LOOK_AT_LOG_S
        other = self._of_other_logs(self._log) if self._log is not None and look else set()
        for partition in self._next.keys() - ours:
            del self._next[partition]
            self._uncommitted.pop(partition, None)
        for partition in ours - self._next.keys():
            committed, epoch = self._committed(partition)
            self._next[partition], self._assigned[partition] = committed.offset, committed
            if epoch and epoch != self._epochs[partition.topic]:
                other.add(partition)
        other &= ours
        if other:
            log.error("another log of the same name, read from its beginning", group=self.group, partitions=len(other))
            self.rewind(dict.fromkeys(other), "log")
        return ours - other

    def _of_other_logs(self, logs: LogEpochs) -> set[TopicPartition]:
        """Look the log epochs up again; returns the partitions whose log is another one than before."""
        before, self._epochs = self._epochs, logs.look()
        self._looked_at = time.monotonic()
        return {at for at in self._next if self._epochs[at.topic] != before[at.topic]}

    def _committed(self, partition: TopicPartition) -> tuple[Committed, int]:
        """What is committed of a partition, and of which log; 0 if that is not known."""
        found = self._consumer.committed(partition, metadata=True, timeout_ms=COMMIT_MS)
        if found is None:
            return Committed(None), 0
        epoch, _, note = (found.metadata or "").partition(" ")
        return Committed(found.offset, note), int(epoch, 16) if EPOCH.fullmatch(epoch) else 0

    def _expect(self, partition: TopicPartition, records: Sequence[ConsumerRecord]) -> None:
        """Note the offset that comes next, and log offsets that were skipped or that come a second time."""
        expected, first = self._next[partition], records[0].offset
        self._next[partition] = records[-1].offset + 1
        if expected is None or expected == first:
            return
        if first < expected:
            log.error("the log was cut: its offsets are given again", partition=str(partition), at=first, was=expected)
        elif not self._topics[partition.topic].compacted:
            SKIPPED_RECORDS.labels(self.group, partition.topic).inc(first - expected)
            log.error("records were deleted before they were read", group=self.group, records=first - expected)

    def _position(self, partition: TopicPartition, after_last: int) -> int:
        """The offset to commit: behind the last record, and behind what compaction has left of others after it."""
        if not self._topics[partition.topic].compacted:
            return after_last
        return max(after_last, self._consumer.position(partition) or 0)

    def _show_lag(self) -> int:
        """Set the metrics of the lag; returns the lag over all topics, in records."""
        lags = dict.fromkeys(self._topics, 0)
        uncommitted = dict.fromkeys(self._topics, 0)
        for partition in self._next:
            lags[partition.topic] += self._lag(partition)
            uncommitted[partition.topic] += self._uncommitted.get(partition, 0)
        for topic in self._topics:
            LAG_RECORDS.labels(self.group, topic).set(lags[topic])
            UNCOMMITTED_RECORDS.labels(self.group, topic).set(uncommitted[topic])
        return sum(lags.values())

    def _lag(self, partition: TopicPartition) -> int:
        end = self._consumer.highwater(partition)
        position = None if end is None else self._consumer.position(partition, timeout_ms=POSITION_MS)
        if position is None:  # nothing has been fetched yet, or not since it was set back
            return 0
        return max(0, int(end - position)) + self._polled.get(partition, 0)

    def _connected(self) -> Any:
        if self._consumer is None:
            raise KafkaConnectionError(f"{self.group} is not connected")
        return self._consumer

    def _connect(self) -> None:
        bootstrap, names = self._settings.kafka_bootstrap, list(self._topics)
        create_topics(bootstrap)
        self._log = LogEpochs(bootstrap, names)
        self._epochs, self._looked_at = self._log.look(), time.monotonic()
        self._consumer = new_consumer(self._settings, self.group, self._instance, self._fetch_wait_ms)
        await_partitions(self._consumer, self._log.partitions())
        self._joined_at = time.monotonic()
        self._consumer.subscribe(names)
