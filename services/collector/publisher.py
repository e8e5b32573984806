"""The way to Kafka: one thread owns the producer, behind a bounded queue, so that nothing blocks the event loop.

kafka-python's `send()` blocks and its producer keeps state (the idempotent producer's id and sequence numbers) that a
broker's restart can leave unusable. So a producer that has failed once is closed and a new one is made, and while
there is none, requests are refused at once instead of waiting for a timeout.
"""

import asyncio
import queue
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import structlog
from kafka import KafkaProducer
from kafka.errors import KafkaConnectionError, KafkaTimeoutError

from collector import metrics
from collector.delivery import OVERHEAD, Delivery, Record
from collector.errors import Failure, Refused
from collector.settings import CollectorSettings
from slop.topics import create_topics, require_broker

log = structlog.get_logger(__name__)

POLL_S: Final = 0.2
DRAIN_S: Final = 1.0


class Publisher:
    """Publishes records in the order given; `publish` returns once Kafka has acknowledged all of them."""

    def __init__(self, settings: CollectorSettings) -> None:
        self._settings = settings
        self._queue: queue.Queue[Delivery] = queue.Queue(settings.collector_queue_bytes // OVERHEAD)
        self._waiting_bytes = 0
        self._connected, self._broken, self._closing = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        """Begin to connect; `publish` refuses until that has worked."""
        self._thread.start()

    async def publish(self, records: Sequence[Record]) -> None:
        """Publish records and wait for their acknowledgement.

        Raises:
            Refused: the queue is full, Kafka is away, or it has not acknowledged all of them in time, in which case
                some or all may have been published nevertheless.
        """
        outcome = self._enqueue(records).outcome
        try:
            error = await asyncio.wait_for(outcome, self._settings.collector_ack_timeout_s)
        except TimeoutError as timeout:
            self._broken.set()
            error = timeout
        if error is not None:
            raise Refused(Failure.NOT_ACKNOWLEDGED) from error

    def report(self, records: Sequence[Record]) -> None:
        """Publish records if that is possible now, without waiting."""
        try:
            self._enqueue(records).outcome.add_done_callback(_count_lost)
        except Refused:
            metrics.LOST_REPORTS.inc(len(records))

    async def ready(self) -> None:
        """Return if records can be published.

        Raises:
            ConnectionError: there is no producer.
            kafka.errors.KafkaError: Kafka can't be reached.
        """
        if not self._connected.is_set():
            raise ConnectionError("there is no working producer; a new one is being made")
        await asyncio.to_thread(require_broker, self._settings.kafka_bootstrap)

    def close(self) -> None:
        """Publish what is queued and stop; blocks for at most twice `collector_shutdown_s`."""
        self._closing.set()
        self._thread.join(2 * self._settings.collector_shutdown_s)

    def _enqueue(self, records: Sequence[Record]) -> Delivery:
        if not self._connected.is_set():
            raise Refused(Failure.BROKER_AWAY)
        delivery = Delivery(records, self._release)
        if self._waiting_bytes + delivery.size > self._settings.collector_queue_bytes:
            raise Refused(Failure.QUEUE_FULL)
        self._waiting_bytes += delivery.size
        metrics.WAITING.inc(len(records))
        self._queue.put_nowait(delivery)
        return delivery

    def _release(self, delivery: Delivery) -> None:
        self._waiting_bytes -= delivery.size
        metrics.WAITING.dec(len(delivery.records))

    # From here on: the publisher's own thread.

    def _run(self) -> None:
        away = False
        while not self._closing.is_set():
            try:
                producer = self._connect()
            except Exception as error:  # whatever kafka-python raises, it is tried again
                if not away:
                    log.warning("kafka_away", bootstrap=self._settings.kafka_bootstrap, error=repr(error))
                away = True
                self._closing.wait(self._settings.collector_reconnect_s)
            else:
                away = False
                self._serve(producer)

    def _connect(self) -> KafkaProducer:
        bootstrap = self._settings.kafka_bootstrap
        created = create_topics(bootstrap, self._settings.collector_ack_timeout_s)
        producer = KafkaProducer(**_producer_config(self._settings))
        log.info("kafka_connected", bootstrap=bootstrap, topics_created=created)
        return producer

    def _serve(self, producer: KafkaProducer) -> None:
        self._broken.clear()
        self._set_connected(True)
        while not (self._broken.is_set() or self._closing.is_set()):
            with suppress(queue.Empty):
                self._send(producer, self._queue.get(timeout=POLL_S))
        self._set_connected(False)
        self._empty_queue(producer)
        _close(producer, self._settings.collector_shutdown_s if self._closing.is_set() else DRAIN_S)

    def _set_connected(self, connected: bool) -> None:
        (self._connected.set if connected else self._connected.clear)()
        metrics.CONNECTED.set(connected)

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


def _count_lost(outcome: asyncio.Future[Exception | None]) -> None:
    if outcome.cancelled() or outcome.result() is not None:
        metrics.LOST_REPORTS.inc()


def _producer_config(settings: CollectorSettings) -> dict[str, Any]:
    timeout_ms = int(settings.collector_ack_timeout_s * 1000)
    return {
        "bootstrap_servers": settings.kafka_bootstrap.split(","),
        "client_id": "slop-collector",
        "acks": "all",
        "enable_idempotence": True,
        "max_block_ms": settings.collector_max_block_ms,
        "linger_ms": settings.collector_linger_ms,
        "bootstrap_timeout_ms": timeout_ms,
        "delivery_timeout_ms": timeout_ms,
        "request_timeout_ms": timeout_ms // 2,
        "reconnect_backoff_max_ms": int(settings.collector_reconnect_s * 1000),
    }


def _close(producer: KafkaProducer, timeout_s: float) -> None:
    try:
        producer.close(timeout=timeout_s)
    except KafkaTimeoutError:
        # kafka-python 3.0.12: close() gives up in its flush and leaves the thread running, which has no public end.
        producer._sender.force_close()
        with suppress(KafkaTimeoutError):
            producer.close(timeout=timeout_s)
