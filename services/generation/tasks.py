"""Concurrent work: when one part fails or the caller goes, the other parts end too."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterable, Sequence
from contextlib import aclosing
from http import HTTPStatus
from typing import Any, Final, TypeVar

from fastapi import Request

from kit.problems import Problem

T = TypeVar("T")

_AHEAD: Final = 32  # items that sources may be ahead of the reader of `merged`


async def gathered(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all coroutines, in order. The first failure is raised, and cancels the others."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def merged(sources: Sequence[AsyncGenerator[T, None]]) -> AsyncGenerator[T, None]:
    """The items of all sources as they come. The first failure is raised; it ends all sources, as closing this does."""
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
    """The result of work for a request. When the caller has closed the connection the work is cancelled.

    Raises:
        Problem: the caller has gone, so nobody will read this.
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
    """Return when the caller has closed the connection. The request's body must have been read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


class _End:
    """Says in the queue that a source has ended, or failed with `error`."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error


async def _pour(source: AsyncGenerator[T, None], queue: "asyncio.Queue[T | _End]") -> None:
    """Put all items of a source into the queue, then its end."""
    try:
        async with aclosing(source):
            async for item in source:
                await queue.put(item)
    except Exception as error:  # raised where `merged` is iterated
        await queue.put(_End(error))
    else:
        await queue.put(_End())
