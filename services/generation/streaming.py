"""Streams of server-sent events that stay open while they wait, and end their source when the caller has gone."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Final, TypeVar

from fastapi import Request
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import AppStatus, SendTimeoutError
from starlette.types import Receive, Scope, Send

from generation.tasks import while_connected

T = TypeVar("T")

COMMENT_EVERY_S: Final = 10
SEND_S: Final = 10

AppStatus.enable_automatic_graceful_drain = False  # a service that is stopped gives its streams the time to end


class EventStream(EventSourceResponse):
    """A streamed answer that closes its source as soon as the caller has gone, or has taken nothing for `SEND_S`.

    Proxies are told not to collect it, and get a comment every `COMMENT_EVERY_S`, so that they don't take it for dead.
    """

    def __init__(self, events: AsyncGenerator[str, None]) -> None:
        """Events as they are to be sent, each with its empty line."""
        super().__init__(
            _encoded(events), ping=COMMENT_EVERY_S, ping_message_factory=_comment, sep="\n", send_timeout=SEND_S
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all events, as ASGI does."""
        with suppress(SendTimeoutError):
            await super().__call__(scope, receive, send)


async def begun(http: Request, items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """The same items, once the first has come: a failure before it can be answered with a status of its own.

    If none comes within `COMMENT_EVERY_S` the stream begins without, so that comments keep its connection open; a
    failure is told within the stream then.

    Raises:
        Problem: `items` failed before the first one, or the caller has gone.
    """
    first = asyncio.ensure_future(anext(items))
    try:
        await while_connected(http, asyncio.wait({first}, timeout=COMMENT_EVERY_S))
        if first.done():
            first.result()
    except BaseException:
        first.cancel()  # which ends the items
        raise
    return _going_on(first, items)


async def _going_on(first: asyncio.Future[T], rest: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    try:
        yield await first
        async for item in rest:
            yield item
    finally:
        if first.done():
            await rest.aclose()
        else:
            first.cancel()


async def _encoded(events: AsyncGenerator[str, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(events):
        async for event in events:
            if event:
                yield event.encode()


def _comment() -> ServerSentEvent:
    return ServerSentEvent(comment="still here", sep="\n")
