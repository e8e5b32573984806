"""The inference server, an OpenAI-compatible one that takes `prompt_embeds`, as vLLM does."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import httpx
import structlog

from kit.problems import Problem

RETRY_AFTER_S: Final = 2
# Below the 5 s after which vLLM closes an idle connection, so that none is used while it closes.
KEEPALIVE_S: Final = 3.0
_MAX_DETAIL: Final = 300

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Order:
    """One completion to ask for: `n` texts for the same messages. There is no seed: it ends vLLM's CPU engine."""

    messages: list[dict[str, Any]]
    n: int
    max_tokens: int
    temperature: float
    min_p: float

    def body(self, model: str, *, stream: bool) -> dict[str, Any]:
        """The request's JSON."""
        return {
            "model": model,
            "messages": self.messages,
            "n": self.n,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "min_p": self.min_p,
            "stream": stream,
        }


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the `index`-th text of an order."""

    index: int
    text: str


class Engine:
    """Completions from the server at `url`, each within `timeout_s`."""

    def __init__(
        self, url: str, model: str | None, connect_timeout_s: float, timeout_s: float, connections: int
    ) -> None:
        self._configured_model = self._model = model
        self._timeout_s = timeout_s
        self._client = httpx.AsyncClient(
            base_url=url.rstrip("/") + "/",
            timeout=httpx.Timeout(timeout_s, connect=connect_timeout_s),
            limits=httpx.Limits(max_connections=connections, keepalive_expiry=KEEPALIVE_S),
            trust_env=False,
        )

    async def complete(self, order: Order) -> list[str]:
        """The texts of an order.

        Raises:
            Problem: there is none, and why.
        """
        async with self._request(order, stream=False) as response:
            answer = json.loads(await response.aread())
            choices = sorted(answer["choices"], key=lambda choice: choice["index"])
            return [choice["message"]["content"] or "" for choice in choices]

    async def stream(self, order: Order) -> AsyncGenerator[Delta, None]:
        """The texts of an order in pieces, as they are written.

        Raises:
            Problem: they end early, and why.
        """
        async with self._request(order, stream=True) as response:
            async for line in response.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                data = line.removeprefix("data: ")
                chunk = json.loads(data)
                if "error" in chunk:
                    raise _unavailable(f"the engine stopped: {_reason(_error(data))}")
                for choice in chunk["choices"]:
                    if text := choice["delta"].get("content"):
                        yield Delta(choice["index"], text)

    async def check(self) -> None:
        """Raise if the engine does not answer."""
        (await self._client.get("models")).raise_for_status()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    @asynccontextmanager
    async def _request(self, order: Order, *, stream: bool) -> AsyncIterator[httpx.Response]:
        try:
            async with asyncio.timeout(self._timeout_s):
                body = order.body(await self._served_model(), stream=stream)
                async with self._client.stream("POST", "chat/completions", json=body) as response:
                    await self._refuse_errors(response)
                    yield response
        except (httpx.TransportError, TimeoutError) as error:
            log.warning("engine_unavailable", error=repr(error))
            raise _unavailable("the engine does not answer") from error
        except (ValueError, LookupError) as error:
            log.error("engine_not_understood", error=repr(error))
            raise Problem(HTTPStatus.BAD_GATEWAY, "the engine's answer was not understood") from error

    async def _served_model(self) -> str:
        if self._model is None:
            response = await self._client.get("models")
            await self._refuse_errors(response)
            self._model = str(response.json()["data"][0]["id"])
        return self._model

    async def _refuse_errors(self, response: httpx.Response) -> None:
        if response.is_success:
            return
        await response.aread()
        if response.status_code == HTTPStatus.NOT_FOUND:
            self._model = self._configured_model  # restarted with another model: ask again next time
        problem = problem_of(response)
        log.warning("engine_refused", status=response.status_code, detail=problem.detail)
        raise problem


def problem_of(response: httpx.Response) -> Problem:
    """What the engine's refusal means to our client."""
    error = _error(response.text)
    reason, status = _reason(error), response.status_code
    if status in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY}:
        if error.get("param") == "prompt_embeds":
            return Problem(HTTPStatus.BAD_GATEWAY, f"the engine takes no soft prompt of this basis: {reason}")
        return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"the engine refuses the request: {reason}")
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return Problem(HTTPStatus.BAD_GATEWAY, "the engine refuses this service's credentials")
    return _unavailable(f"the engine answered {status}: {reason}")


def _error(document: str) -> dict[str, Any]:
    try:
        error = json.loads(document)["error"]
    except (ValueError, LookupError, TypeError):
        return {}
    return error if isinstance(error, dict) else {"message": error}


def _reason(error: dict[str, Any]) -> str:
    return str(error.get("message", "no reason given"))[:_MAX_DETAIL]


def _unavailable(detail: str) -> Problem:
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after_s=RETRY_AFTER_S)
