"""The order in which threads compute: first what a reader waits for, last what nobody waits for."""

import bisect
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from itertools import count
from typing import Final

BACKGROUND_TURNS: Final = 16  # of others, after which waiting background work begins


class Priority(IntEnum):
    """Who waits for a piece of work; the smaller number goes first."""

    REACTION = 0  # a reaction, and all interactions after it
    REQUEST = 1  # a request, or parked reactions
    BACKGROUND = 2  # nobody


class PrioritySemaphore:
    """A semaphore with `places` places, which are given by priority and then in the order of arrival.

    Background work has a place of its own and takes none of the others. It begins when nobody else waits, or after
    others have begun BACKGROUND_TURNS times meanwhile. So it delays nobody, and it is never delayed for good.
    """

    def __init__(self, places: int = 1) -> None:
        self._condition, self._tickets = threading.Condition(), count()
        self._waiting: list[tuple[Priority, int]] = []
        self._free, self._background, self._turns = places, True, 0

    @contextmanager
    def turn(self, priority: Priority) -> Iterator[None]:
        """A context in which a place is held; waits for one before."""
        with self._condition:
            ticket, came = (priority, next(self._tickets)), self._turns
            bisect.insort(self._waiting, ticket)
            self._condition.wait_for(lambda: self._is_next(ticket, came) and self._is_free(priority))
            self._waiting.remove(ticket)
            self._take(priority, free=False)
            self._condition.notify_all()
        try:
            yield
        finally:
            with self._condition:
                self._take(priority, free=True)
                self._condition.notify_all()

    def _is_next(self, ticket: tuple[Priority, int], came: int) -> bool:
        has_waited = ticket[0] is Priority.BACKGROUND and self._turns - came >= BACKGROUND_TURNS
        return has_waited or self._waiting[0] == ticket

    def _is_free(self, priority: Priority) -> bool:
        return self._background if priority is Priority.BACKGROUND else self._free > 0

    def _take(self, priority: Priority, *, free: bool) -> None:
        if priority is Priority.BACKGROUND:
            self._background = free
        else:
            self._free += 1 if free else -1
            self._turns += not free
