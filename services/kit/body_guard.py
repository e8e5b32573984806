"""What is checked of a request before its body is read as JSON: size, type and time."""

import asyncio
from http import HTTPStatus
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kit.problems import Problem

CHECKED_METHODS: Final = frozenset({"POST", "PUT", "PATCH"})


class BodyGuard:
    """ASGI middleware: reads the whole body, of at most `max_bytes` within `timeout_s`, before the application runs."""

    def __init__(self, app: ASGIApp, max_bytes: int, timeout_s: float, retry_after_s: int = 1) -> None:
        self._app, self._max_bytes, self._timeout_s, self._retry_after_s = app, max_bytes, timeout_s, retry_after_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a problem document, or pass on."""
        if scope["type"] != "http" or scope["method"] not in CHECKED_METHODS:
            await self._app(scope, receive, send)
            return
        try:
            body = await self._body(Headers(scope=scope), receive)
        except Problem as problem:
            await problem.response()(scope, receive, send)
            return
        if body is not None:
            await self._app(scope, _replay(body, receive), send)

    async def _body(self, headers: Headers, receive: Receive) -> bytes | None:
        """The body; None if the client has gone away."""
        self._check_size(int(headers.get("content-length", "0")))
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Problem(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "the body must be sent as Content-Type: application/json",
                code="not_json",
            )
        try:
            return await asyncio.wait_for(self._read(receive), self._timeout_s)
        except TimeoutError as error:
            detail = f"the body did not arrive within {self._timeout_s:g} s"
            raise Problem(
                HTTPStatus.REQUEST_TIMEOUT, detail, retry_after_s=self._retry_after_s, code="body_too_slow"
            ) from error

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
        if size > self._max_bytes:
            detail = f"the body is larger than {self._max_bytes} bytes"
            raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, code="body_too_large")


def _replay(body: bytes, receive: Receive) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return messages.pop() if messages else await receive()

    return replayed
