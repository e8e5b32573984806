"""Copies the log to the broker of the calm stack, to which no fault happens.

Interactions are copied record by record, so that each has the same partition and offset in both logs. So both stacks'
profiles must be the same bytes, but for the id of the log.
"""

import threading
from collections.abc import Iterable
from contextlib import closing, suppress
from itertools import chain
from typing import Any, Final

from kafka import KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError
from kafka.structs import TopicPartition

from slop.kafka.brokers import require_broker
from slop.kafka.topics import INTERACTIONS
from slop.v1.interaction_pb2 import Interaction

POLL_MS: Final = 200
BATCH: Final = 500
SEND_S: Final = 30.0
PAUSE_S: Final = 0.5


class Diverged(RuntimeError):  # noqa: N818
    """A copy has another offset than its original: somebody else wrote to the copy."""


class Mirror:
    """Copies interactions from one broker to another in a thread of its own; each is copied once.

    Attributes:
        error: what ended it; empty while nothing did.
        redelivered: readers with interactions that were parked and published again, out of their order.
    """

    def __init__(self, source: str, target: str) -> None:
        """Copies from the broker at `source`, which may be away for a while, to the one at `target`, which may not."""
        self._source, self._target = source, target
        self._stop = threading.Event()
        self._next: dict[int, int] = {}
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        self.error = ""
        self.redelivered: set[str] = set()

    def start(self) -> None:
        """Begin, from the start of the log or from where it ended."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, between two records."""
        self._stop.set()
        self._thread.join()

    def begin_anew(self) -> None:
        """Both logs are empty again; it must not run."""
        self._next = {}

    def _run(self) -> None:
        try:
            with closing(KafkaProducer(bootstrap_servers=self._target)) as producer:
                while not self._stop.is_set():
                    with suppress(KafkaError):
                        self._follow(producer)
                    self._stop.wait(PAUSE_S)
        except (Diverged, KafkaError, OSError) as error:
            self.error = f"{type(error).__name__}: {error}"

    def _follow(self, producer: Any) -> None:
        """Copy until it is stopped.

        Raises:
            kafka.errors.KafkaError: the source is away.
        """
        require_broker(self._source)
        consumer = KafkaConsumer(bootstrap_servers=self._source, enable_auto_commit=False, auto_offset_reset="earliest")
        with closing(consumer):
            partitions = [TopicPartition(INTERACTIONS.name, number) for number in range(INTERACTIONS.partitions)]
            consumer.assign(partitions)
            for at in partitions:
                consumer.seek(at, self._next.get(at.partition, 0))
            while not self._stop.is_set():
                records = chain.from_iterable(consumer.poll(POLL_MS, max_records=BATCH).values())
                self._copy(records, producer)
                require_broker(self._source)

    def _copy(self, records: Iterable[Any], producer: Any) -> None:
        sent = [
            (record, producer.send(record.topic, record.value, record.key, partition=record.partition))
            for record in records
        ]
        for record, future in sent:
            offset = future.get(timeout=SEND_S).offset
            if offset != record.offset:
                raise Diverged(f"{record.topic}/{record.partition}: {record.offset} was copied to {offset}")
            self._next[record.partition] = record.offset + 1
            interaction = Interaction.FromString(record.value)
            if interaction.redeliveries:
                self.redelivered.add(interaction.user_id)
