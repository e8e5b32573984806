"""Producers of workers, which publish before they commit, and how any producer is closed."""

from contextlib import suppress
from typing import Any, Final

from kafka import KafkaProducer
from kafka.errors import KafkaTimeoutError

from slop.kafka.brokers import CONNECT_MS, addresses, create_topics
from slop.settings import CommonSettings

BLOCK_MS: Final = 5_000
DRAIN_S: Final = 1.0


def worker_producer(settings: CommonSettings) -> Any:
    """A producer for a worker that flushes before it commits: acks=all, idempotent, `send` blocks BLOCK_MS at most.

    Topics that are missing are created first, with their settings; a broker would create them with its own.

    Raises:
        kafka.errors.KafkaError: the brokers are away.
    """
    create_topics(settings.kafka_bootstrap)
    return KafkaProducer(
        bootstrap_servers=addresses(settings.kafka_bootstrap),
        bootstrap_timeout_ms=CONNECT_MS,
        acks="all",
        linger_ms=5,
        max_block_ms=BLOCK_MS,
    )


def close_producer(producer: KafkaProducer, timeout_s: float = DRAIN_S) -> None:
    """Send what is left, if that is done in time, and end the producer's thread whether it is or not."""
    try:
        producer.close(timeout=timeout_s)
    except KafkaTimeoutError:
        # kafka-python 3.0.12: close() gives up in its flush and leaves the thread running, which has no public end.
        producer._sender.force_close()
        with suppress(KafkaTimeoutError):
            producer.close(timeout=timeout_s)
