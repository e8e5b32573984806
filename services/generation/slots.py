"""A bound on how many requests are worked on at a time, and on how many wait for their turn and how long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from kit.problems import Problem


class Slots:
    """At most `size` holders; at most `max_waiting` wait, each for at most `max_wait_s`."""

    def __init__(self, size: int, max_waiting: int, max_wait_s: float) -> None:
        self._free = asyncio.Semaphore(size)
        self._waiting, self._max_waiting, self._max_wait_s = 0, max_waiting, max_wait_s

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Hold a slot.

        Raises:
            Problem: 503 with Retry-After, if none is free in time.
        """
        await self._acquire()
        try:
            yield
        finally:
            self._free.release()

    async def _acquire(self) -> None:
        if self._free.locked() and self._waiting >= self._max_waiting:
            raise self._overloaded()
        self._waiting += 1
        try:
            async with asyncio.timeout(self._max_wait_s):
                await self._free.acquire()
        except TimeoutError:
            raise self._overloaded() from None
        finally:
            self._waiting -= 1

    def _overloaded(self) -> Problem:
        return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "too many requests are waiting for the engine", retry_after_s=1)
