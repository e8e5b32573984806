"""OpenAI's shape of errors, on its paths, whoever answers: a route, the router, or what checks bodies before them."""

import json
import re
from http import HTTPStatus
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from generation.openai.contracts import ErrorDetail, ErrorDocument
from kit.problems import MEDIA_TYPE, Problem

PATHS: Final = re.compile(r"^/v1/(chat/completions|models)(/|$)")

_TYPES: Final = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
}
_CODES: Final = {HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_exceeded"}
_MEMBERS: Final = frozenset({"content", "role", "text", "type"})  # of a message, that an error may be in


class OpenAIErrors:
    """ASGI middleware: on OpenAI's paths every problem document becomes an error document of OpenAI's."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and write what goes wrong anew."""
        if scope["type"] != "http" or not PATHS.match(scope["path"]):
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        try:
            await self._app(scope, receive, answer.send)
        except Exception:
            if not answer.has_begun:
                problem = Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the service failed")
                await _response(problem.status, error_of(problem), {})(scope, receive, send)
            raise
        if answer.problem is not None:
            status, error, headers = answer.problem
            await _response(status, error, headers)(scope, receive, send)


def error_of(problem: Problem) -> ErrorDocument:
    """The error document of a problem."""
    return _error({"status": problem.status, "detail": problem.detail} | problem.members)


class _Answer:
    """An answer on its way, of which a problem document is held back.

    Attributes:
        has_begun: whether any of it was sent or held back.
        problem: the status, the error document and the headers that are to be answered instead, or None.
    """

    def __init__(self, send: Send) -> None:
        self.has_begun = False
        self.problem: tuple[int, ErrorDocument, dict[str, str]] | None = None
        self._send, self._body = send, bytearray()
        self._held: Message | None = None

    async def send(self, message: Message) -> None:
        """Send a message on, or hold it back."""
        self.has_begun = True
        if message["type"] == "http.response.start" and _is_problem(message):
            self._held = message
        if self._held is None:
            await self._send(message)
            return
        self._body += message.get("body", b"")
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            error = _error(json.loads(self._body))
            kept = Headers(raw=self._held["headers"]).items()
            headers = {name: value for name, value in kept if name not in {"content-type", "content-length"}}
            self.problem = _status(self._held["status"]), error, headers


def _is_problem(start: Message) -> bool:
    return Headers(raw=start["headers"]).get("content-type") == MEDIA_TYPE


def _error(problem: dict[str, Any]) -> ErrorDocument:
    """From the members of a problem document."""
    status, message, param = HTTPStatus(problem["status"]), problem["detail"], problem.get("param")
    if errors := problem.get("errors"):
        error = max(errors, key=lambda one: one["at"].count("/"))  # of a union's members, the one that fits best
        param, reason = _param(error["at"], error["error"])
        message = f"{message}: {param}: {reason}" if param else f"{message}: {reason}"
    kind = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    code = problem.get("code", _CODES.get(status))
    return ErrorDocument(error=ErrorDetail(message=message, type=_TYPES.get(status, kind), param=param, code=code))


def _param(at: str, reason: str) -> tuple[str | None, str]:
    """The parameter that an error of pydantic's is in, as OpenAI names it, and the reason without its name."""
    _, *path = at.split("/")
    if not path or path[0].isdigit():  # the whole body, or a place in what is not JSON
        name, found, rest = reason.removeprefix("Value error, ").partition(": ")
        return (name, rest) if found and name.isidentifier() else (None, reason)
    name, *within = path
    for step in within:
        if step.isdigit():
            name += f"[{step}]"
        elif step in _MEMBERS:
            name += f".{step}"
    return name, reason


def _status(status: int) -> int:
    """OpenAI answers 400 to whatever is not valid."""
    return HTTPStatus.BAD_REQUEST if status == HTTPStatus.UNPROCESSABLE_ENTITY else status


def _response(status: int, error: ErrorDocument, headers: dict[str, str]) -> JSONResponse:
    return JSONResponse(error.model_dump(), status, headers)
