"""A streamed answer as server-sent events (WHATWG HTML, section 9.2)."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, Protocol

from fastapi import Request

from generation.generate import answer_of, delta_of
from generation.streaming import EventStream, begun
from generation.writing_request import PostPiece, WrittenPosts
from kit.problems import Problem

Item = PostPiece | WrittenPosts

EVENT_STREAM: Final = "text/event-stream"
EVENT_SCHEMA: Final = {
    "type": "object",
    "description": "an event of the stream",
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
}
EXAMPLE: Final = """data: {"post":0,"text":"Repotted the"}

data: {"post":0,"text":" basil today."}

event: done
data: {"posts":[{"post_id":"gen-0b9c","text":"Repotted the basil today."}],"personalization":{"applied":true}}

"""


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


async def event_stream(http: Request, source: AsyncGenerator[Item, None], form: EventFormat) -> EventStream:
    """A streamed answer. A failure before the first item is answered with a status of its own; see `begun`.

    Raises:
        Problem: the source failed before its first item, or the caller has gone.
    """
    return EventStream(_events(await begun(http, source), form))


async def _events(items: AsyncGenerator[Item, None], form: EventFormat) -> AsyncGenerator[str, None]:
    async with aclosing(items):
        try:
            async for item in items:
                yield form.item(item)
        except Problem as problem:
            yield form.problem(problem)
