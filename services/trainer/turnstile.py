"""Who computes first: what a reader waits for goes before what nobody waits for."""

import heapq
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from itertools import count


class Priority(IntEnum):
    """Who waits for a piece of work; the smaller goes first."""

    REACTION = 0  # a reaction, and everybody's behind it
    ASKED = 1  # a request, or reactions that are parked meanwhile
    PATIENT = 2  # nobody


class Turnstile:
    """Lets so many threads in at a time, by priority and then in the order in which they came.

    Patient work takes none of the places: it has one of its own, where it begins only when nobody else waits. So it
    holds nobody up, however slowly the machine lets it get on.
    """

    def __init__(self, places: int = 1) -> None:
        self._condition, self._tickets = threading.Condition(), count()
        self._waiting: list[tuple[Priority, int]] = []
        self._free, self._patient = places, True

    @contextmanager
    def turn(self, priority: Priority) -> Iterator[None]:
        """Wait for the turn and hold it."""
        with self._condition:
            ticket = priority, next(self._tickets)
            heapq.heappush(self._waiting, ticket)
            self._condition.wait_for(lambda: self._waiting[0] == ticket and self._is_free(priority))
            heapq.heappop(self._waiting)
            self._take(priority, free=False)
            self._condition.notify_all()
        try:
            yield
        finally:
            with self._condition:
                self._take(priority, free=True)
                self._condition.notify_all()

    def _is_free(self, priority: Priority) -> bool:
        return self._patient if priority is Priority.PATIENT else self._free > 0

    def _take(self, priority: Priority, *, free: bool) -> None:
        if priority is Priority.PATIENT:
            self._patient = free
        else:
            self._free += 1 if free else -1
