"""A bound on concurrent requests to the engine, and on how many more wait for their turn and for how long."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, TypeVar

from generation import metrics
from generation.metrics import Refusal
from kit.problems import Problem

RETRY_AFTER_S: Final = 1

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class _Waiting:
    """A request that waits for its turn.

    Attributes:
        source: whose share of the engine it is: a key or an address.
        reader: for whom it is.
        turn: done when its turn has come, or with the Problem that it is refused with.
    """

    source: str
    reader: str
    turn: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class RequestLimit:
    """At most `size` requests have a turn at a time; at most `max_waiting` wait for one, each for `max_wait_s`.

    Turns are shared fairly: the next one goes to the source that has the fewest, and among its requests to the reader
    who has the fewest. So do waiting places: where all are taken, a newcomer gets one of a source, or of a reader, that
    has more of them than it would have itself.
    """

    def __init__(self, size: int, max_waiting: int, max_wait_s: float) -> None:
        self._free, self._max_waiting, self._max_wait_s = size, max_waiting, max_wait_s
        self._waiting: list[_Waiting] = []  # in order of arrival
        self._turns_of_source, self._turns_of_reader = Counter[str](), Counter[tuple[str, str]]()

    @asynccontextmanager
    async def turn(self, source: str = "", reader: str = "", wait_s: float = float("inf")) -> AsyncIterator[None]:
        """Wait for a turn, and have it until the block ends.

        Args:
            source: whose share of the engine it is: a key or an address.
            reader: for whom it is.
            wait_s: for how long it may wait, if that is less than `max_wait_s`.

        Raises:
            Problem: 503 with Retry-After, if too many wait already or no turn comes in time; 429, if the waiting place
                was given to a source or reader with fewer of them.
        """
        one = _Waiting(source, reader)
        await self._acquire(one, min(wait_s, self._max_wait_s))
        try:
            yield
        finally:
            self._release(one)

    async def _acquire(self, one: _Waiting, wait_s: float) -> None:
        if self._free and not self._waiting:
            self._give(one)
            return
        if len(self._waiting) >= self._max_waiting:
            self._make_room(one)
        self._waiting.append(one)
        try:
            async with asyncio.timeout(wait_s):
                await one.turn
        except TimeoutError:
            if not _has_turn(one):
                raise _overloaded() from None
        except asyncio.CancelledError:
            if _has_turn(one):  # it came while the request was given up
                self._release(one)
            raise
        finally:
            if one in self._waiting:
                self._waiting.remove(one)

    def _make_room(self, newcomer: _Waiting) -> None:
        """Refuse a waiting request of whoever has the most waiting places, or the newcomer."""
        of_source = Counter(one.source for one in self._waiting)
        of_reader = Counter((one.source, one.reader) for one in self._waiting)
        if not self._waiting:
            raise _overloaded()
        last = max(reversed(self._waiting), key=lambda one: (of_source[one.source], of_reader[one.source, one.reader]))
        if newcomer.source != last.source:
            is_fairer = of_source[newcomer.source] + 1 < of_source[last.source]
        else:
            mine, theirs = ((one.source, one.reader) for one in (newcomer, last))
            is_fairer = of_reader[mine] + 1 < of_reader[theirs]
        if not is_fairer:
            raise _overloaded()
        self._waiting.remove(last)
        if not last.turn.done():
            last.turn.set_exception(_displaced())

    def _give(self, one: _Waiting) -> None:
        self._free -= 1
        self._turns_of_source[one.source] += 1
        self._turns_of_reader[one.source, one.reader] += 1

    def _release(self, one: _Waiting) -> None:
        self._free += 1
        _forget_one(self._turns_of_source, one.source)
        _forget_one(self._turns_of_reader, (one.source, one.reader))
        while self._waiting and self._free:
            following = min(
                self._waiting,
                key=lambda one: (self._turns_of_source[one.source], self._turns_of_reader[one.source, one.reader]),
            )
            self._waiting.remove(following)
            if not following.turn.done():
                self._give(following)
                following.turn.set_result(None)


def _forget_one(counts: Counter[T], name: T) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]


def _has_turn(one: _Waiting) -> bool:
    return one.turn.done() and not one.turn.cancelled() and one.turn.exception() is None


def _overloaded() -> Problem:
    metrics.REFUSED.labels(Refusal.OVERLOADED).inc()
    detail = "too many requests are waiting for the engine"
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after_s=RETRY_AFTER_S, code="overloaded")


def _displaced() -> Problem:
    metrics.REFUSED.labels(Refusal.CALLER).inc()
    detail = "too many requests are waiting for the engine, and most of them are of this key, address or reader"
    return Problem(HTTPStatus.TOO_MANY_REQUESTS, detail, retry_after_s=RETRY_AFTER_S, code="rate_limit_exceeded")
