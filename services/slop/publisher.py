"""The way to Kafka: one thread owns the producer, behind a bounded queue, so that nothing blocks the event loop.

kafka-python's `send()` blocks and its producer keeps state (the idempotent producer's id and sequence numbers) that a
broker's restart can leave unusable. So a producer that has failed once is closed and a new one is made, and while
there is none, records are refused at once instead of waiting for a timeout.
"""

import asyncio
import queue
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import structlog
from kafka import KafkaProducer
from kafka.errors import KafkaTimeoutError

from slop.topics import Topic, create_topics

log = structlog.get_logger(__name__)

PROBE_TIMEOUT_S: Final = 0.8
POLL_S: Final = 0.2
DRAIN_S: Final = 1.0


class NotPublished(Exception):  # noqa: N818
    """Records were not published, or are not known to be."""


class QueueFull(NotPublished):
    """Too many records wait for Kafka; these were not taken."""


class BrokerAway(NotPublished):
    """Kafka can't be reached; these were not taken."""


class NotAcknowledged(NotPublished):
    """Kafka has not acknowledged all of them in time; some or all may have been published nevertheless."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a publisher takes, and how long it waits.

    Attributes:
        queue_records: records taken and not yet acknowledged.
        ack_timeout_s: from taking records to their acknowledgement.
        max_block_ms: how long the producer thread may be held up by missing topic metadata.
        linger_ms: how long the producer waits for more records to a batch.
        reconnect_s: pause between attempts to reach Kafka.
        shutdown_s: how long the producer may take to send what is left at the end.
    """

    queue_records: int = 20_000
    ack_timeout_s: float = 5.0
    max_block_ms: int = 300
    linger_ms: int = 5
    reconnect_s: float = 0.5
    shutdown_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Record:
    """What is published: the topic, the key that orders it, and the value."""

    topic: Topic
    key: bytes | None
    value: bytes


class Delivery:
    """Records that succeed or fail together; settled from other threads, awaited on the event loop.

    Attributes:
        records: what is delivered, in order.
        outcome: done once every record is settled: None if Kafka has acknowledged all, else the first error.
    """

    def __init__(self, records: Sequence[Record], when_done: Callable[[int], None]) -> None:
        """To be called on the event loop, where `when_done` gets the number of records once all are settled."""
        self.records = records
        self._loop = asyncio.get_running_loop()
        self.outcome: asyncio.Future[Exception | None] = self._loop.create_future()
        self._when_done, self._left = when_done, len(records)
        self._error: Exception | None = None
        self._lock = threading.Lock()

    def settle(self, count: int = 1, error: Exception | None = None) -> None:
        """`count` more records are acknowledged, or have failed with `error`."""
        with self._lock:
            self._left -= count
            self._error = self._error or error
            done = self._left == 0
        if done:
            self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        self._when_done(len(self.records))
        if not self.outcome.done():
            self.outcome.set_result(self._error)


class Publisher:
    """Publishes records in the order given; to be used on one event loop."""

    def __init__(self, bootstrap: str, client_id: str, limits: Limits) -> None:
        """Connects when it is started.

        Args:
            bootstrap: comma-separated host:port of the brokers.
            client_id: this service's name at the broker.
            limits: of the queue and of every wait.

        Raises:
            ValueError: `bootstrap` is not a list of host:port.
        """
        self._bootstrap, self._servers = bootstrap, servers_of(bootstrap)
        self._client_id, self._limits = client_id, limits
        self._queue: queue.Queue[Delivery] = queue.Queue(limits.queue_records)
        self._waiting = 0
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

    async def publish(self, records: Sequence[Record]) -> None:
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

    def publish_soon(self, records: Sequence[Record], on_loss: Callable[[int], None]) -> None:
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
            OSError: Kafka can't be reached.
        """
        if not self.connected:
            raise ConnectionError("no producer yet")
        await asyncio.to_thread(probe, self._servers)

    def close(self) -> None:
        """Publish what is queued and stop; blocks for at most twice `shutdown_s`."""
        self._closing.set()
        self._thread.join(2 * self._limits.shutdown_s)

    def _enqueue(self, records: Sequence[Record]) -> Delivery:
        if not self.connected:
            raise BrokerAway
        if self._waiting + len(records) > self._limits.queue_records:
            raise QueueFull
        delivery = Delivery(records, self._release)
        self._waiting += len(records)
        self._queue.put_nowait(delivery)
        return delivery

    def _release(self, count: int) -> None:
        self._waiting -= count

    # From here on: the publisher's own thread.

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                producer = self._connect()
            except Exception as error:  # whatever kafka-python raises, it is tried again
                log.warning("kafka_away", bootstrap=self._bootstrap, error=repr(error))
                self._closing.wait(self._limits.reconnect_s)
            else:
                self._serve(producer)

    def _connect(self) -> KafkaProducer:
        probe(self._servers)
        created = create_topics(self._bootstrap, self._limits.ack_timeout_s)
        producer = KafkaProducer(**self._producer_config())
        log.info("kafka_connected", bootstrap=self._bootstrap, topics_created=created)
        return producer

    def _producer_config(self) -> dict[str, Any]:
        limits = self._limits
        timeout_ms = int(limits.ack_timeout_s * 1000)
        return {
            "bootstrap_servers": self._bootstrap.split(","),
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
        _close(producer, self._limits.shutdown_s if self._closing.is_set() else DRAIN_S)

    def _empty_queue(self, producer: KafkaProducer) -> None:
        with suppress(queue.Empty):
            while True:
                delivery = self._queue.get_nowait()
                if self._closing.is_set():
                    self._send(producer, delivery)
                else:
                    delivery.settle(len(delivery.records), ConnectionError("the producer has failed"))

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


def _report_loss(outcome: asyncio.Future[Exception | None], count: int, on_loss: Callable[[int], None]) -> None:
    if outcome.cancelled() or outcome.result() is not None:
        on_loss(count)


def servers_of(bootstrap: str) -> list[tuple[str, int]]:
    """The (host, port) in `host:port,host:port`.

    Raises:
        ValueError: it is not of that form.
    """
    parts = [server.strip().rpartition(":") for server in bootstrap.split(",")]
    if not all(host and port.isdecimal() for host, _, port in parts):
        raise ValueError(f"the brokers have to be host:port,host:port, and are {bootstrap!r}")
    return [(host.strip("[]"), int(port)) for host, _, port in parts]


def probe(servers: Sequence[tuple[str, int]]) -> None:
    """Open a connection to the first server that listens.

    Raises:
        OSError: none does.
    """
    for server in servers[:-1]:
        with suppress(OSError):
            socket.create_connection(server, PROBE_TIMEOUT_S).close()
            return
    socket.create_connection(servers[-1], PROBE_TIMEOUT_S).close()


def _close(producer: KafkaProducer, timeout_s: float) -> None:
    try:
        producer.close(timeout=timeout_s)
    except KafkaTimeoutError:
        # kafka-python 3.0.12: close() gives up in its flush and leaves the thread running, which has no public end.
        producer._sender.force_close()
        with suppress(KafkaTimeoutError):
            producer.close(timeout=timeout_s)
