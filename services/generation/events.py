"""A streamed answer as server-sent events (WHATWG HTML, section 9.2)."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from fastapi.responses import StreamingResponse
from starlette.types import Send

from generation.generate import answer_of, delta_of
from generation.writing_request import PostPiece, WrittenPosts
from kit.problems import Problem

Item = PostPiece | WrittenPosts

EVENT_STREAM: Final = "text/event-stream"
EXAMPLE: Final = """data: {"post":0,"text":"Repotted the"}

data: {"post":0,"text":" basil today."}

event: done
data: {"posts":[{"post_id":"gen-0b9c","text":"Repotted the basil today."}],"personalization":{"applied":true}}

"""


class EventStream(StreamingResponse):
    """A streamed answer that closes its source as soon as the client has gone."""

    def __init__(self, events: AsyncGenerator[str, None]) -> None:
        super().__init__(events, media_type=EVENT_STREAM, headers={"Cache-Control": "no-store"})
        self._events = events

    async def stream_response(self, send: Send) -> None:
        """Send all events, as ASGI does."""
        async with aclosing(self._events):
            await super().stream_response(send)


async def event_stream(source: AsyncGenerator[Item, None]) -> EventStream:
    """Wait for the first item, then stream. A failure before the first item is answered with a status of its own.

    Raises:
        Problem: the source failed before its first item.
    """
    first = await anext(source)
    return EventStream(_events(first, source))


async def _events(first: Item, rest: AsyncGenerator[Item, None]) -> AsyncGenerator[str, None]:
    async with aclosing(rest):
        try:
            yield _event(first)
            async for item in rest:
                yield _event(item)
        except Problem as problem:
            yield f"event: error\ndata: {bytes(problem.response().body).decode()}\n\n"


def _event(item: Item) -> str:
    if isinstance(item, WrittenPosts):
        return f"event: done\ndata: {answer_of(item).model_dump_json()}\n\n"
    return f"data: {delta_of(item).model_dump_json()}\n\n" if item.text else ""
