"""Members of consumer groups and producers, as SLOP's workers use them: bounded waits, offsets committed by hand."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain
from typing import Any, Final, Protocol

from kafka import KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError
from kafka.structs import MemberState, OffsetAndMetadata, TopicPartition
from prometheus_client import Gauge

from kit.progress import Progress
from slop.settings import CommonSettings
from slop.topics import Topic, create_topics, require_broker

CONNECT_MS: Final = 3_000
COMMIT_MS: Final = 5_000
CLOSE_MS: Final = 3_000
BLOCK_MS: Final = 5_000
FETCH_WAIT_MS: Final = 100
LOG_RECORDS: Final = 2_000
LOG_POLL_MS: Final = 500
LOG_STALLED_S: Final = 30.0
TAIL_POLL_MS: Final = 300
MOST_TAIL_POLLS: Final = 10

LAG_RECORDS: Final = Gauge(
    "slop_consumer_lag_records",
    "Records up to the end of the log that this process has not done with, over its partitions.",
    ["group", "topic"],
)


class Record(Protocol):
    """What is consumed."""

    @property
    def topic(self) -> str: ...  # noqa: D102
    @property
    def partition(self) -> int: ...  # noqa: D102
    @property
    def offset(self) -> int: ...  # noqa: D102
    @property
    def key(self) -> bytes | None: ...  # noqa: D102
    @property
    def value(self) -> bytes | None: ...  # noqa: D102


class NotJoined(RuntimeError):  # noqa: N818
    """The brokers have not admitted this process to its consumer group yet."""


class Subscription:
    """A member of a consumer group, which connects when it is polled and again after an error.

    Offsets are committed only by `commit`, so a record that was polled and not committed is delivered again after a
    crash. Only `check` and `check_progress` may be called from another thread.
    """

    def __init__(self, settings: CommonSettings, group: str, topics: Sequence[Topic], instance: str = "") -> None:
        """Does not connect yet.

        Args:
            settings: where the brokers are, and the session's timeout.
            group: the consumer group.
            topics: created if missing.
            instance: a name that no other member of the group has; with it a restarted process takes its predecessor's
                place at once instead of after the session's timeout.
        """
        self._settings, self._group, self._topics, self._instance = settings, group, topics, instance
        self._consumer: Any = None
        self._polled: dict[TopicPartition, int] = {}
        self._progress, self._taken = Progress(settings.stalled_s), 0
        for topic in topics:
            LAG_RECORDS.labels(group, topic.name)

    def poll(self, wait_s: float, max_records: int) -> list[Record]:
        """The next records, as soon as there are any; none if there are none within `wait_s`.

        Who polls again has done the work that its last call gave it.

        Raises:
            kafka.errors.KafkaError: the brokers are away or refuse; call it again, with patience.
        """
        done, self._taken = self._taken, 0
        try:
            if self._consumer is None:
                self._consumer = self._connected()
            polled = self._consumer.poll(timeout_ms=round(1000 * wait_s), max_records=max_records)
            self._polled = {partition: len(records) for partition, records in polled.items()}
            behind = self._show_lag()
        except KafkaError:
            self.close()
            raise
        self._taken = sum(self._polled.values())
        self._progress.came_round(done, behind)
        return list(chain.from_iterable(polled.values()))

    def commit(self) -> None:
        """Everything that was polled is done with.

        Raises:
            kafka.errors.KafkaError: nothing is committed; a later commit makes up for it.
        """
        self._consumer.commit(timeout_ms=COMMIT_MS)
        self._polled = {}
        self._show_lag()

    def check(self) -> None:
        """Look whether a broker answers and this process is a member of the group.

        Raises:
            NotJoined: it is not.
            kafka.errors.KafkaError: no broker answers.
        """
        require_broker(self._settings.kafka_bootstrap)
        consumer = self._consumer
        if consumer is None or consumer.group_metadata().state is not MemberState.STABLE:
            raise NotJoined(f"not yet a member of the group {self._group}")

    def check_progress(self) -> None:
        """Raise kit.progress.Stalled if there are records and none was done for too long, or nobody polls any more."""
        self._progress.check()

    def close(self) -> None:
        """Leave the group, without committing."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close(autocommit=False, timeout_ms=CLOSE_MS)

    def _show_lag(self) -> int:
        """Show how far behind it is; returns the records over all topics."""
        lags = dict.fromkeys((topic.name for topic in self._topics), 0)
        for partition in self._consumer.assignment():
            lags[partition.topic] += self._lag(partition)
        for topic, lag in lags.items():
            LAG_RECORDS.labels(self._group, topic).set(lag)
        return sum(lags.values())

    def _lag(self, partition: TopicPartition) -> int:
        end = self._consumer.highwater(partition)
        if end is None:  # nothing has been fetched yet
            return 0
        return max(0, int(end - self._consumer.position(partition))) + self._polled.get(partition, 0)

    def _connected(self) -> Any:
        bootstrap = self._settings.kafka_bootstrap
        create_topics(bootstrap)
        consumer = KafkaConsumer(
            bootstrap_servers=bootstrap.split(","),
            bootstrap_timeout_ms=CONNECT_MS,
            group_id=self._group,
            group_instance_id=self._instance or None,
            session_timeout_ms=self._settings.kafka_session_timeout_ms,
            heartbeat_interval_ms=self._settings.kafka_session_timeout_ms // 4,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            allow_auto_create_topics=False,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            reconnect_backoff_max_ms=1_000,
        )
        names = [topic.name for topic in self._topics]
        # Known before joining: a member that leads its group and learns of the partitions meanwhile joins anew, and may
        # be stuck in that (kafka-python 3.0.12, after KAFKA-3949).
        for name in names:
            consumer.partitions_for_topic(name)
        consumer.subscribe(names)
        return consumer


class GroupLag:
    """How far a consumer group is behind ends of a topic that were seen before; and to move one that has no members."""

    def __init__(self, settings: CommonSettings, group: str, topic: Topic) -> None:
        """Connects; it does not join the group.

        Raises:
            kafka.errors.KafkaError: the brokers are away, here and below.
        """
        require_broker(settings.kafka_bootstrap)
        self._topic = topic
        self._consumer: Any = KafkaConsumer(
            bootstrap_servers=settings.kafka_bootstrap.split(","),
            bootstrap_timeout_ms=CONNECT_MS,
            group_id=group,
            enable_auto_commit=False,
            allow_auto_create_topics=False,
        )

    def ends(self) -> dict[TopicPartition, int]:
        """The ends of the topic's partitions now; none of a topic that is not there yet."""
        numbers = self._consumer.partitions_for_topic(self._topic.name) or ()
        partitions = [TopicPartition(self._topic.name, number) for number in numbers]
        self._consumer.assign(partitions)
        for partition, end in self._consumer.end_offsets(partitions).items():
            self._consumer.seek(partition, end)
        for _ in range(MOST_TAIL_POLLS):  # Tansu leaves out the end of the last batch
            if not self._consumer.poll(TAIL_POLL_MS, max_records=LOG_RECORDS):
                break
        return {partition: self._consumer.position(partition) for partition in partitions}

    def behind(self, ends: Mapping[TopicPartition, int]) -> int:
        """Records up to `ends` that the group has not done with."""
        begins = self._consumer.beginning_offsets(list(ends))
        return sum(max(0, end - max(begins[at], self._consumer.committed(at) or 0)) for at, end in ends.items())

    def rewind(self) -> None:
        """Have the group read the topic from its beginning."""
        self._move(self._consumer.beginning_offsets(list(self.ends())))

    def skip(self) -> None:
        """Have the group read only what is written from now on."""
        self._move(self.ends())

    def _move(self, offsets: Mapping[TopicPartition, int]) -> None:
        moved = {at: OffsetAndMetadata(offset, "", -1) for at, offset in offsets.items()}
        self._consumer.commit(moved, timeout_ms=COMMIT_MS)

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()


def whole_log(settings: CommonSettings, topic: Topic) -> Iterator[Record]:
    """Every record of a topic that was written before now, a partition after the other, in order.

    Raises:
        kafka.errors.KafkaError: the brokers are away.
        TimeoutError: no record came for LOG_STALLED_S, short of the end.
    """
    require_broker(settings.kafka_bootstrap)
    now_ms = round(1_000 * time.time())
    consumer = KafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap.split(","),
        bootstrap_timeout_ms=CONNECT_MS,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    with closing(consumer):
        for number in sorted(consumer.partitions_for_topic(topic.name) or ()):
            yield from _whole_partition(consumer, TopicPartition(topic.name, number), now_ms)


def _whole_partition(consumer: Any, partition: TopicPartition, now_ms: int) -> Iterator[Record]:
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)
    end = consumer.end_offsets([partition])[partition]  # at least so far; Tansu tells it late
    heard_at = time.monotonic()
    while True:
        records = list(chain.from_iterable(consumer.poll(LOG_POLL_MS, max_records=LOG_RECORDS).values()))
        yield from (record for record in records if record.timestamp <= now_ms)
        if records:
            heard_at = time.monotonic()
        if consumer.position(partition) >= end and (not records or records[-1].timestamp > now_ms):
            return
        if time.monotonic() - heard_at > LOG_STALLED_S:
            raise TimeoutError(f"{partition.topic}/{partition.partition}: no record for {LOG_STALLED_S:.0f} s")


def worker_producer(settings: CommonSettings) -> Any:
    """A producer for a worker that flushes before it commits: acks=all, idempotent, `send` blocks BLOCK_MS at most.

    Raises:
        kafka.errors.KafkaError: the brokers are away.
    """
    require_broker(settings.kafka_bootstrap)
    return KafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap.split(","),
        bootstrap_timeout_ms=CONNECT_MS,
        acks="all",
        linger_ms=5,
        max_block_ms=BLOCK_MS,
    )
