"""Several things at a time, none of which outlives the failure of another or of the caller."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterable, Sequence
from contextlib import aclosing
from http import HTTPStatus
from typing import Any, Final, TypeVar

from fastapi import Request

from kit.problems import Problem

T = TypeVar("T")

_AHEAD: Final = 32


async def gathered(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All results in order; the first failure ends all."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def merged(sources: Sequence[AsyncGenerator[T, None]]) -> AsyncGenerator[T, None]:
    """The items of all sources as they come; the first failure ends all, as does closing this iterator."""
    queue: asyncio.Queue[T | _End] = asyncio.Queue(_AHEAD)
    tasks = [asyncio.create_task(_pour(source, queue)) for source in sources]
    try:
        open_sources = len(tasks)
        while open_sources:
            item = await queue.get()
            if not isinstance(item, _End):
                yield item
                continue
            if item.error is not None:
                raise item.error
            open_sources -= 1
    finally:
        for task in tasks:
            task.cancel()


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of work for a request, which ends as soon as its caller has gone.

    Raises:
        Problem: it has; nobody reads that.
    """
    working, listening = asyncio.create_task(work), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait((working, listening), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise Problem(HTTPStatus.REQUEST_TIMEOUT, "the caller has gone")
    finally:
        for task in (working, listening):
            task.cancel()


async def _gone(request: Request) -> None:
    """Return when the caller has gone; the request's body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


class _End:
    """A source has ended."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error


async def _pour(source: AsyncGenerator[T, None], queue: "asyncio.Queue[T | _End]") -> None:
    try:
        async with aclosing(source):
            async for item in source:
                await queue.put(item)
    except Exception as error:  # handed to the one who iterates
        await queue.put(_End(error))
    else:
        await queue.put(_End())
