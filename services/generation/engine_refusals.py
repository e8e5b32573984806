"""What the engine's refusals mean to our clients."""

import json
from http import HTTPStatus
from typing import Any, Final

import httpx

from kit.problems import Problem

RETRY_AFTER_S: Final = 2
TOO_LONG: Final = "context_length_exceeded"  # OpenAI's code
_MAX_REASON: Final = 300  # characters
_INVALID: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY})


class EngineFailure(Problem):
    """The engine has failed, and not because of the request: another engine may answer it."""

    def __init__(self, detail: str, status: HTTPStatus = HTTPStatus.SERVICE_UNAVAILABLE) -> None:
        retry_after_s = RETRY_AFTER_S if status == HTTPStatus.SERVICE_UNAVAILABLE else None
        super().__init__(status, detail, retry_after_s=retry_after_s)


class EngineUnreachable(EngineFailure):
    """No connection to the engine could be made."""


class BasisRefused(EngineFailure):
    """The engine takes no soft prompt of the basis."""


def problem_of(response: httpx.Response) -> Problem:
    """What our client is answered when the engine has refused our request."""
    status, reason = response.status_code, reason_of(response.text)
    if refuses_soft_prompt(response):
        return BasisRefused(f"the engine takes no soft prompt of this basis: {reason}", HTTPStatus.BAD_GATEWAY)
    if status in _INVALID:
        error = _error(response.text)
        is_too_long = error.get("param") == "input_tokens" or TOO_LONG in {error.get("code"), error.get("type")}
        code: dict[str, Any] = {"code": TOO_LONG} if is_too_long or "maximum context length" in reason else {}
        return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"the engine refuses the request: {reason}", **code)
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return Problem(HTTPStatus.BAD_GATEWAY, "the engine refuses this service's credentials")
    detail = f"the engine answered {status}: {reason}"
    return EngineFailure(detail) if status >= HTTPStatus.INTERNAL_SERVER_ERROR else unavailable(detail)


def refuses_soft_prompt(response: httpx.Response) -> bool:
    """Whether the engine refused the soft prompt itself: vLLM does if its rows are not as wide as the model's."""
    return response.status_code in _INVALID and _error(response.text).get("param") == "prompt_embeds"


def reason_of(document: str) -> str:
    """The reason that an error document of the OpenAI API gives, cut short."""
    return str(_error(document).get("message", "no reason given"))[:_MAX_REASON]


def unavailable(detail: str) -> Problem:
    """The engine can't write now, and may later."""
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after_s=RETRY_AFTER_S)


def _error(document: str) -> dict[str, Any]:
    try:
        error = json.loads(document)["error"]
    except (ValueError, LookupError, TypeError):
        return {}
    return error if isinstance(error, dict) else {"message": error}
