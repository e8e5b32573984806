"""A streamed answer as server-sent events (WHATWG HTML, section 9.2)."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, Protocol

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


class EventFormat(Protocol):
    """How an API writes a streamed answer; each text is zero or more whole events."""

    def item(self, item: Item) -> str:
        """The events of a piece, or of the whole answer, which is the last item."""

    def problem(self, problem: Problem) -> str:
        """The events of a failure after the first item, after which nothing follows."""


class GenerateEvents:
    """Pieces of posts as unnamed events, then `done` with the whole answer, or `error` with a problem document."""

    def item(self, item: Item) -> str:
        """A piece, or the whole answer."""
        if isinstance(item, WrittenPosts):
            return f"event: done\ndata: {answer_of(item).model_dump_json()}\n\n"
        return f"data: {delta_of(item).model_dump_json()}\n\n" if item.text else ""

    def problem(self, problem: Problem) -> str:
        """A problem document."""
        return f"event: error\ndata: {bytes(problem.response().body).decode()}\n\n"


async def event_stream(source: AsyncGenerator[Item, None], form: EventFormat) -> EventStream:
    """Wait for the first item, then stream. A failure before the first item is answered with a status of its own.

    Raises:
        Problem: the source failed before its first item.
    """
    first = await anext(source)
    return EventStream(_events(first, source, form))


async def _events(first: Item, rest: AsyncGenerator[Item, None], form: EventFormat) -> AsyncGenerator[str, None]:
    async with aclosing(rest):
        try:
            yield form.item(first)
            async for item in rest:
                yield form.item(item)
        except Problem as problem:
            yield form.problem(problem)
