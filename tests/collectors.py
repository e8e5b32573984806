"""A real collector on a free loopback port, and what it has published."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from infra.local.ports import free_port
from infra.local.ready import http_answers
from slop.kafka.topics import Topic
from tests.servers import HOST, Server


def collector_server(folder: Path, bootstrap: str, until: str = "readyz", **settings: object) -> tuple[Server, str]:
    """A collector that is not started yet, and its URL.

    Args:
        folder: where its log goes.
        bootstrap: the broker.
        until: the health check that says that it has started.
        settings: more settings, as `collector_ack_timeout_s=1`.
    """
    port = free_port()
    url = f"http://{HOST}:{port}"
    env = {f"SLOP_{name.upper()}": str(value) for name, value in settings.items()}
    env |= {"SLOP_COLLECTOR_PORT": str(port), "SLOP_KAFKA_BOOTSTRAP": bootstrap}
    command = [sys.executable, "-m", "collector"]
    return Server(command, lambda: http_answers(f"{url}/{until}"), folder / "collector.log", env), url


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """A server that is started, and ended afterwards."""
    server.start()
    try:
        yield server
    finally:
        server.stop()


def read_all(bootstrap: str, topic: Topic, timeout_s: float = 60.0) -> list[ConsumerRecord]:
    """Every record of a topic up to now, each partition's in order.

    Raises:
        TimeoutError: the broker does not give them in time.
    """
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    try:
        ends = consumer.end_offsets([TopicPartition(topic.name, index) for index in range(topic.partitions)])
        consumer.assign(list(ends))
        consumer.seek_to_beginning()
        return _read_until(consumer, ends, time.monotonic() + timeout_s)
    finally:
        consumer.close()


def _read_until(consumer: KafkaConsumer, ends: dict[TopicPartition, int], deadline: float) -> list[ConsumerRecord]:
    records: list[ConsumerRecord] = []
    while any(consumer.position(partition) < end for partition, end in ends.items()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(records)} records, and not all")
        for batch in consumer.poll(timeout_ms=500).values():
            records += batch
    return records
