"""A bound on concurrent requests to the engine, and on how many more wait for their turn and for how long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from kit.problems import Problem


class RequestLimit:
    """At most `size` requests have a turn at a time; at most `max_waiting` wait for one, each for `max_wait_s`."""

    def __init__(self, size: int, max_waiting: int, max_wait_s: float) -> None:
        self._free = asyncio.Semaphore(size)
        self._waiting, self._max_waiting, self._max_wait_s = 0, max_waiting, max_wait_s

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and have it until the block ends.

        Raises:
            Problem: 503 with Retry-After, if too many wait already or no turn comes in time.
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
