"""RFC 9457 problem documents for FastAPI services.

By hand, since fastapi-problem-details adds an answer to every route of the OpenAPI document, and tells clients in full
of errors that nobody handled.
"""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):  # noqa: N818
    """An error that the client is told of; raise it anywhere in a request."""

    def __init__(self, status: HTTPStatus, detail: str, *, retry_after_s: int | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.status, self.detail, self.retry_after_s, self.members = status, detail, retry_after_s, members

    def response(self) -> JSONResponse:
        """The problem document, with Retry-After where trying again helps."""
        headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        body = {"type": "about:blank", "title": self.status.phrase, "status": self.status, "detail": self.detail}
        return JSONResponse(body | self.members, self.status, headers, MEDIA_TYPE)


async def _on_problem(_: Request, problem: Exception) -> JSONResponse:
    assert isinstance(problem, Problem)  # noqa: S101
    return problem.response()


async def _on_http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    response = Problem(HTTPStatus(error.status_code), str(error.detail)).response()
    response.headers.update(error.headers or {})
    return response


async def _on_validation(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    details = error.errors()
    errors = [{"at": "/".join(map(str, e["loc"])), "error": e["msg"]} for e in details]
    if any(e["type"] == "json_invalid" for e in details):
        return Problem(HTTPStatus.BAD_REQUEST, "the body is not JSON", errors=errors).response()
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "the request is not valid", errors=errors).response()


def install_problems(app: FastAPI) -> None:
    """Answer every error of an app with a problem document."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_validation)
