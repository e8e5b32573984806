"""The way to Kafka: one thread owns the producer, behind a bounded queue, so that nothing blocks the event loop.

kafka-python's `send()` blocks and its producer keeps state (the idempotent producer's id and sequence numbers) that a
broker's restart can leave unusable. So a producer that has failed once is closed and a new one is made, and while
there is none, records are refused at once instead of waiting for a timeout.

It stands on kafka-python, since no other client would make it clearly shorter; librdkafka would take a third to a half
of the CPU time (docs/decisions.md).
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import structlog
from kafka import KafkaProducer
from kafka.errors import KafkaConnectionError, KafkaTimeoutError

from slop.kafka.brokers import addresses, create_topics, require_broker
from slop.kafka.delivery import OVERHEAD, Delivery
from slop.kafka.producers import DRAIN_S, close_producer
from slop.kafka.records import ProducerRecord
from slop.kafka.topics import TOPICS, Topic

log = structlog.get_logger(__name__)

POLL_S: Final = 0.2


class NotPublished(Exception):  # noqa: N818
    """Records were not published, or are not known to be."""


class QueueFull(NotPublished):
    """Too many records wait for Kafka; these were not taken."""


class BrokerAway(NotPublished):
    """Kafka can't be reached; these were not taken."""


class NotAcknowledged(NotPublished):
    """Kafka has not acknowledged all of them in time; some or all may have been published nevertheless."""


@dataclass(frozen=True, slots=True)
class PublisherLimits:
    """How much a publisher takes, and how long it waits.

    Attributes:
        queue_bytes: records taken and not yet acknowledged, with 1 KB of overhead each.
        ack_timeout_s: from taking records to their acknowledgement.
        max_block_ms: how long the producer thread may be held up by missing topic metadata.
        linger_ms: how long the producer waits for more records to a batch.
        reconnect_s: pause between attempts to reach Kafka.
        shutdown_s: how long the producer may take to send what is left at the end.
    """

    queue_bytes: int
    ack_timeout_s: float = 5.0
    max_block_ms: int = 300
    linger_ms: int = 5
    reconnect_s: float = 0.5
    shutdown_s: float = 10.0


class Publisher:
    """Publishes records in the order given; to be used on one event loop."""

    def __init__(self, bootstrap: str, client_id: str, limits: PublisherLimits) -> None:
        """Connects when it is started.

        Args:
            bootstrap: comma-separated host:port of the brokers.
            client_id: this service's name at the broker.
            limits: of the queue and of every wait.
        """
        self._bootstrap, self._client_id, self._limits = bootstrap, client_id, limits
        self._queue: queue.Queue[Delivery] = queue.Queue(limits.queue_bytes // OVERHEAD)
        self._waiting_bytes = self._waiting = 0
        self._connected, self._broken, self._closing = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    @property
    def waiting(self) -> int:
        """Records that were taken and are not acknowledged yet."""
        return self._waiting

    @property
    def connected(self) -> bool:
        """Whether there is a producer that has not failed."""
        return self._connected.is_set()

    def start(self) -> None:
        """Begin to connect; records are refused until that has worked."""
        self._thread.start()

    async def publish(self, records: Sequence[ProducerRecord]) -> None:
        """Publish records and wait for their acknowledgement.

        Raises:
            QueueFull, BrokerAway, NotAcknowledged: as their names say.
        """
        outcome = self._enqueue(records).outcome
        try:
            error = await asyncio.wait_for(outcome, self._limits.ack_timeout_s)
        except TimeoutError as timeout:
            self._broken.set()
            error = timeout
        if error is not None:
            raise NotAcknowledged from error

    def publish_soon(self, records: Sequence[ProducerRecord], on_loss: Callable[[int], None]) -> None:
        """Publish records if that is possible now, without waiting; `on_loss` gets the number of lost ones."""
        try:
            outcome = self._enqueue(records).outcome
        except NotPublished:
            on_loss(len(records))
        else:
            outcome.add_done_callback(lambda done: _report_loss(done, len(records), on_loss))

    async def check(self) -> None:
        """Return if records can be published.

        Raises:
            ConnectionError: there is no producer.
            kafka.errors.KafkaError: Kafka can't be reached.
        """
        if not self.connected:
            raise ConnectionError("there is no working producer; a new one is being made")
        await asyncio.to_thread(require_broker, self._bootstrap)

    def close(self) -> None:
        """Publish what is queued and stop; blocks for at most twice `shutdown_s`."""
        self._closing.set()
        self._thread.join(2 * self._limits.shutdown_s)

    def _enqueue(self, records: Sequence[ProducerRecord]) -> Delivery:
        if not self.connected:
            raise BrokerAway
        delivery = Delivery(records, self._release)
        if self._waiting_bytes + delivery.size > self._limits.queue_bytes:
            raise QueueFull
        self._waiting_bytes += delivery.size
        self._waiting += len(records)
        self._queue.put_nowait(delivery)
        return delivery

    def _release(self, delivery: Delivery) -> None:
        self._waiting_bytes -= delivery.size
        self._waiting -= len(delivery.records)

    # From here on: the publisher's own thread.

    def _run(self) -> None:
        away = False
        while not self._closing.is_set():
            try:
                producer = self._connect()
            except Exception as error:  # whatever kafka-python raises, it is tried again
                if not away:
                    log.warning("kafka_away", bootstrap=self._bootstrap, error=repr(error))
                away = True
                self._closing.wait(self._limits.reconnect_s)
            else:
                away = False
                self._serve(producer)

    def _connect(self) -> KafkaProducer:
        created = create_topics(self._bootstrap, self._limits.ack_timeout_s)
        producer = KafkaProducer(**self._producer_config())
        try:
            self._learn_partitions(producer)
        except Exception:
            close_producer(producer)
            raise
        log.info("kafka_connected", bootstrap=self._bootstrap, topics_created=created)
        return producer

    def _learn_partitions(self, producer: KafkaProducer) -> None:
        # send() waits for the partitions of a topic if it does not know them. A busy broker may tell them too late:
        # then it fails after max_block_ms.
        deadline = time.monotonic() + self._limits.ack_timeout_s
        for topic in TOPICS:
            while not _knows(producer, topic):
                if time.monotonic() > deadline or self._closing.is_set():
                    raise KafkaTimeoutError(f"no partitions of {topic.name} in time")

    def _producer_config(self) -> dict[str, Any]:
        limits = self._limits
        timeout_ms = int(limits.ack_timeout_s * 1000)
        return {
            "bootstrap_servers": addresses(self._bootstrap),
            "client_id": self._client_id,
            "acks": "all",
            "enable_idempotence": True,
            "max_block_ms": limits.max_block_ms,
            "linger_ms": limits.linger_ms,
            "bootstrap_timeout_ms": timeout_ms,
            "delivery_timeout_ms": timeout_ms,
            "request_timeout_ms": timeout_ms // 2,
            "reconnect_backoff_max_ms": int(limits.reconnect_s * 1000),
        }

    def _serve(self, producer: KafkaProducer) -> None:
        self._broken.clear()
        self._connected.set()
        while not (self._broken.is_set() or self._closing.is_set()):
            with suppress(queue.Empty):
                self._send(producer, self._queue.get(timeout=POLL_S))
        self._connected.clear()
        self._empty_queue(producer)
        close_producer(producer, self._limits.shutdown_s if self._closing.is_set() else DRAIN_S)

    def _empty_queue(self, producer: KafkaProducer) -> None:
        with suppress(queue.Empty):
            while True:
                delivery = self._queue.get_nowait()
                if self._closing.is_set():
                    self._send(producer, delivery)
                else:
                    delivery.settle(len(delivery.records), KafkaConnectionError("the producer has failed"))

    def _send(self, producer: KafkaProducer, delivery: Delivery) -> None:
        for index, record in enumerate(delivery.records):
            try:
                future = producer.send(record.topic.name, key=record.key, value=record.value)
            except Exception as error:  # whatever it is, the request has to be answered and the thread has to live
                self._fail(delivery, error, len(delivery.records) - index)
                return
            future.add_callback(lambda _: delivery.settle())
            future.add_errback(lambda error: self._fail(delivery, error))

    def _fail(self, delivery: Delivery, error: Exception, count: int = 1) -> None:
        if not self._broken.is_set():
            log.warning("kafka_failed", error=repr(error))
        self._broken.set()
        delivery.settle(count, error)


def _knows(producer: KafkaProducer, topic: Topic) -> bool:
    try:
        return bool(producer.partitions_for(topic.name))
    except KafkaTimeoutError:
        return False


def _report_loss(outcome: asyncio.Future[Exception | None], count: int, on_loss: Callable[[int], None]) -> None:
    if outcome.cancelled() or outcome.result() is not None:
        on_loss(count)
