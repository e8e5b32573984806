"""Reading a topic without being a member of a consumer group."""

import time
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from typing import Any, Final

from kafka import KafkaConsumer
from kafka.structs import TopicPartition

from slop.kafka.brokers import CONNECT_MS, addresses, require_broker
from slop.kafka.records import ConsumerRecord
from slop.kafka.topics import Topic
from slop.settings import CommonSettings

LOG_RECORDS: Final = 2_000
LOG_POLL_MS: Final = 500
LOG_STALLED_S: Final = 30.0


def log_reader(settings: CommonSettings, group: str | None = None) -> Any:
    """A consumer that reads where it is told to and joins no group; `group` is whose offsets it sees and moves.

    Raises:
        kafka.errors.KafkaError: the brokers are away.
    """
    require_broker(settings.kafka_bootstrap)
    return KafkaConsumer(
        bootstrap_servers=addresses(settings.kafka_bootstrap),
        bootstrap_timeout_ms=CONNECT_MS,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )


def whole_log(settings: CommonSettings, topic: Topic) -> Iterator[ConsumerRecord]:
    """All records of a topic that were written before now: one partition after the other, each in order.

    Raises:
        kafka.errors.KafkaError: the brokers are away.
        TimeoutError: no record came for LOG_STALLED_S, short of the end.
    """
    now_ms = round(1_000 * time.time())
    with closing(log_reader(settings)) as consumer:
        for number in sorted(consumer.partitions_for_topic(topic.name) or ()):
            yield from _whole_partition(consumer, TopicPartition(topic.name, number), now_ms)


def _whole_partition(consumer: Any, partition: TopicPartition, now_ms: int) -> Iterator[ConsumerRecord]:
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)
    end = consumer.end_offsets([partition])[partition]  # or more: Tansu leaves out the last batch until it is read
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
