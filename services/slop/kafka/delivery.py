"""Records on their way to Kafka, and the wait for their acknowledgement."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Final

from slop.kafka.records import ProducerRecord

OVERHEAD: Final = 1_024


class Delivery:
    """Records that succeed or fail together; settled from other threads, awaited on the event loop.

    Attributes:
        records: what is delivered, in order.
        size: bytes of memory that they take until then, about.
        outcome: done once every record is settled: None if Kafka has acknowledged all, else the first error.
    """

    def __init__(self, records: Sequence[ProducerRecord], when_done: "Callable[[Delivery], None]") -> None:
        """To be called on the event loop, where `when_done` is called once all records are settled."""
        self.records = records
        self.size = sum(OVERHEAD + len(record.value) for record in records)
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
        self._when_done(self)
        if not self.outcome.done():
            self.outcome.set_result(self._error)
