"""Events on their way to the collector, in batches, as a page's tracker sends them."""

from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from client.rest import Event
from loadtests.api import Api, NotServed

BATCH: Final = 10
KEPT: Final = 1_000


class Tracker:
    """Sends a reader's events in order; refused ones are kept, and sent again with the same ids."""

    def __init__(self, collector: Api) -> None:
        self._collector = collector
        self._waiting: deque[dict[str, Any]] = deque(maxlen=KEPT)

    def add(self, events: Iterable[Event]) -> None:
        """Take events; the oldest are given up where too many wait."""
        self._waiting.extend(event.as_json() for event in events)

    @property
    def full(self) -> bool:
        """Whether there is enough for a request."""
        return len(self._waiting) >= BATCH

    def send(self) -> None:
        """Send everything that waits.

        Raises:
            NotServed: the collector refused or failed; everything still waits.
        """
        if self._waiting:
            self._collector.post("/v1/events", {"events": list(self._waiting)}, rejected)
            self._waiting.clear()

    def leave(self) -> None:
        """Send what waits, without a second attempt: the page is closed."""
        try:
            self.send()
        except NotServed:
            self._waiting.clear()


def rejected(answer: Any) -> str | None:
    """What is wrong with an answer of the collector: events that it did not accept."""
    bad = [result for result in answer["results"] if result["status"] != "accepted"]
    return f"{len(bad)} rejected, the first: {bad[0]['error']}" if bad else None
