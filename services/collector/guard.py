"""What is checked of a request before its body is read as JSON: size, type and time."""

import asyncio
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from collector.errors import Failure, Refused, problem_of
from collector.settings import CollectorSettings

CHECKED_METHOD: Final = "POST"


class BodyGuard:
    """ASGI middleware: reads the whole body, within its limits, before the application runs."""

    def __init__(self, app: ASGIApp, settings: CollectorSettings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a problem document, or pass on."""
        if scope["type"] != "http" or scope["method"] != CHECKED_METHOD:
            await self._app(scope, receive, send)
            return
        try:
            body = await self._body(Headers(scope=scope), receive)
        except Refused as refused:
            await problem_of(refused, self._settings.collector_retry_after_s).response()(scope, receive, send)
            return
        if body is not None:
            await self._app(scope, _replay(body, receive), send)

    async def _body(self, headers: Headers, receive: Receive) -> bytes | None:
        """The body; None if the client has gone away."""
        self._check_size(int(headers.get("content-length", "0")))
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refused(Failure.NOT_JSON)
        seconds = self._settings.collector_body_timeout_s
        try:
            return await asyncio.wait_for(self._read(receive), seconds)
        except TimeoutError as error:
            raise Refused(Failure.BODY_TOO_SLOW, seconds=seconds) from error

    async def _read(self, receive: Receive) -> bytes | None:
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            self._check_size(len(body))
            more = message.get("more_body", False)
        return bytes(body)

    def _check_size(self, size: int) -> None:
        limit = self._settings.collector_body_limit
        if size > limit:
            raise Refused(Failure.BODY_TOO_LARGE, limit=limit)


def _replay(body: bytes, receive: Receive) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return messages.pop() if messages else await receive()

    return replayed
