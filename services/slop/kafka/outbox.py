"""Publishing what a worker has made of a batch, before it commits the batch's offsets."""

from collections.abc import Sequence
from typing import Any, Final

from kafka.errors import KafkaError

from slop.kafka.producers import close_producer, worker_producer
from slop.kafka.records import ProducerRecord
from slop.settings import CommonSettings

FLUSH_S: Final = 10.0


class Outbox:
    """A producer for one thread. It is made at the first use, and made anew after an error."""

    def __init__(self, settings: CommonSettings) -> None:
        self._settings = settings
        self._producer: Any = None

    def publish(self, records: Sequence[ProducerRecord]) -> None:
        """Publish records, in this order; returns once the brokers have all of them.

        Raises:
            kafka.errors.KafkaError: some may have been published; publish all of them again.
        """
        if not records:
            return
        try:
            self._producer = self._producer or worker_producer(self._settings)
            sent = [self._producer.send(record.topic.name, key=record.key, value=record.value) for record in records]
            self._producer.flush(timeout=FLUSH_S)
            for future in sent:
                future.get(timeout=0)
        except KafkaError:
            self.close()
            raise

    def close(self) -> None:
        """Give the producer up."""
        producer, self._producer = self._producer, None
        if producer is not None:
            close_producer(producer)
