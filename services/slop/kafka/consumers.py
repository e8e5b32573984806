"""How SLOP's workers configure a Kafka consumer."""

import time
from collections.abc import Mapping
from typing import Any, Final

from kafka import KafkaConsumer

from slop.kafka.brokers import CONNECT_MS, addresses
from slop.settings import CommonSettings

KNOWN_S: Final = 10.0
LOOK_AGAIN_S: Final = 0.1


def new_consumer(settings: CommonSettings, group: str, instance: str, fetch_wait_ms: int) -> Any:
    """A consumer that has not joined its group yet, and commits no offsets by itself.

    Args:
        settings: where the brokers are, and the session's timeout.
        group: the consumer group.
        instance: a name that no other member of the group has; empty for a member without one.
        fetch_wait_ms: how long the broker may wait for records.

    Raises:
        kafka.errors.KafkaError: no broker answers.
    """
    return KafkaConsumer(
        bootstrap_servers=addresses(settings.kafka_bootstrap),
        bootstrap_timeout_ms=CONNECT_MS,
        group_id=group,
        group_instance_id=instance or None,
        session_timeout_ms=settings.kafka_session_timeout_ms,
        heartbeat_interval_ms=settings.kafka_session_timeout_ms // 4,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=fetch_wait_ms,
        reconnect_backoff_max_ms=1_000,
    )


def await_partitions(consumer: Any, partitions: Mapping[str, int]) -> None:
    """Wait until a consumer knows of all partitions of its topics, KNOWN_S seconds at most, before it joins its group.

    A group's leader that learns of partitions while it joins begins again, and may never end (kafka-python 3.0.12,
    after KAFKA-3949). Brokers tell of a new topic's partitions one by one.

    Args:
        consumer: that is going to subscribe to the topics.
        partitions: how many a topic has, by its name.
    """
    deadline = time.monotonic() + KNOWN_S
    for name, count in partitions.items():
        while len(consumer.partitions_for_topic(name) or ()) < count and time.monotonic() < deadline:
            time.sleep(LOOK_AGAIN_S)
