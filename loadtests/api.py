"""The calls of a simulated user; locust's statistics get the result of each.

429 and 503 with Retry-After are documented outcomes, not failures: they have rows of their own, such as `POST 503`.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import httpx
from locust import User
from locust.contrib.fasthttp import FastHttpSession, ResponseContextManager

REFUSALS: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
CONNECT_TIMEOUT_S: Final = 5.0
AFTER_FAILURE_S: Final = 1.0
SHOWN: Final = 300

Complaint = Callable[[Any], str | None]
"""Says what is wrong with the JSON of an answer, or None."""


class NotServed(Exception):  # noqa: N818
    """A call that was refused or failed; the next one should come `pause_s` later."""

    def __init__(self, pause_s: float) -> None:
        super().__init__(f"not served; again in {pause_s:g} s")
        self.pause_s = pause_s


class Api:
    """One service as a user of locust calls it."""

    def __init__(self, user: User, base_url: str, timeout_s: float) -> None:
        self._session = FastHttpSession(
            base_url,
            user.environment.events.request,
            user,
            network_timeout=timeout_s,
            connection_timeout=CONNECT_TIMEOUT_S,
        )

    def get(self, path: str, name: str, missing_is_fine: bool = False) -> Any:
        """The JSON that a GET answers; None for a 404 that is fine.

        Raises:
            NotServed: it was refused, or it failed.
        """
        with self._session.request("GET", path, name=name, catch_response=True) as response:
            if missing_is_fine and response.status_code == HTTPStatus.NOT_FOUND:
                _report(response)
                return None
            return _answer(response, None)

    def post(self, path: str, body: Any, wrong: Complaint | None = None) -> Any:
        """The JSON that a POST answers.

        Raises:
            NotServed: it was refused, it failed, or `wrong` complained of the answer.
        """
        with self._session.request("POST", path, json=body, catch_response=True) as response:
            return _answer(response, wrong)


def retry_after_s(status: int, asked: str) -> float | None:
    """The pause that the header Retry-After of a refusal asks for, seconds; None if it is no documented refusal."""
    return float(asked) if status in REFUSALS and asked.isdecimal() else None


def _answer(response: ResponseContextManager, wrong: Complaint | None) -> Any:
    asked = response.headers.get("Retry-After") if response.headers else None
    pause_s = retry_after_s(response.status_code, str(asked))
    if pause_s is not None:
        response.request_meta["request_type"] += f" {response.status_code}"
        _report(response)
        raise NotServed(pause_s)
    body, problem = _read(response, wrong)
    _report(response, problem)
    if problem is not None:
        raise NotServed(AFTER_FAILURE_S)
    return body


def _report(response: ResponseContextManager, problem: str | None = None) -> None:
    if problem is None:
        response.success()  # type: ignore[no-untyped-call]
    else:
        response.failure(problem)  # type: ignore[no-untyped-call]


def _read(response: ResponseContextManager, wrong: Complaint | None) -> tuple[Any, str | None]:
    if not response.status_code:
        return None, f"no answer: {getattr(response, 'error', None)!r}"
    if not httpx.codes.is_success(response.status_code):
        return None, f"{response.status_code}: {(response.text or '')[:SHOWN]}"
    try:
        body = response.json()
    except ValueError:
        return None, f"no JSON: {(response.text or '')[:SHOWN]}"
    return body, wrong(body) if wrong else None
