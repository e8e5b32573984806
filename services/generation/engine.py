"""The inference server, an OpenAI-compatible one that takes `prompt_embeds`, as vLLM does."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import httpx
import structlog
from httpx_sse import EventSource

from generation.pulse import EngineProgress
from generation.tasks import gathered
from kit.problems import Problem

RETRY_AFTER_S: Final = 2
# Below the 5 s after which vLLM closes an idle connection, so that none is used while it closes.
KEEPALIVE_S: Final = 3.0
LOOK_S: Final = 1.0
AGAIN_S: Final = 2.0
STREAM_END: Final = "[DONE]"  # the last event of a stream, by the OpenAI API
_MAX_DETAIL: Final = 300
# vLLM's own count of the iterations in which somebody got a token; with a colon or, in OpenMetrics, without.
_ITERATIONS: Final = re.compile(r"^vllm[:_]iteration_tokens_total_count\S* (\S+)", re.M)

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


# The least that an engine can be asked for.
_ONE_TOKEN: Final = Order([{"role": "user", "content": "Hi"}], n=1, max_tokens=1, temperature=0.0, min_p=0.0)


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the `index`-th text of an order."""

    index: int
    text: str


class Engine:
    """Completions from the server at `url`, each within `timeout_s`; refused at once while the engine hangs."""

    def __init__(
        self,
        url: str,
        model: str | None,
        connect_timeout_s: float,
        timeout_s: float,
        connections: int,
        silent_s: float,
    ) -> None:
        """Connects when it is used.

        Args:
            url: of the OpenAI API.
            model: that the server has; None: the first that it lists.
            connect_timeout_s: for a connection.
            timeout_s: for a whole completion.
            connections: at most.
            silent_s: an engine that was asked and has written nothing for so long hangs; `watch` sees to it that it is.
        """
        self._configured_model = self._model = model
        self._timeout_s, self._silent_s, self._pulse = timeout_s, silent_s, EngineProgress(silent_s)
        self._metrics_url = url.rstrip("/").removesuffix("/v1") + "/metrics"
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
        self._refuse_while_it_hangs()
        return await self._completed(order, self._timeout_s)

    async def stream(self, order: Order) -> AsyncGenerator[Delta, None]:
        """The texts of an order in pieces, as they are written.

        Raises:
            Problem: they end early, and why.
        """
        self._refuse_while_it_hangs()
        async with self._request(order, self._timeout_s, stream=True) as response:
            async for event in EventSource(response).aiter_sse():
                if event.data == STREAM_END:
                    continue
                chunk = event.json()
                if "error" in chunk:
                    raise _unavailable(f"the engine stopped: {_reason(_error(event.data))}")
                for choice in chunk["choices"]:
                    if text := choice["delta"].get("content"):
                        self._pulse.came()
                        yield Delta(choice["index"], text)

    async def check(self) -> None:
        """Raise if the server does not answer, or the engine behind it does not write."""
        (await self._client.get("models")).raise_for_status()
        self._pulse.check()

    async def watch(self) -> None:
        """See to it that an engine that hangs is found, and one that goes on again, until it is cancelled."""
        await gathered([self._ask_while_quiet(), self._look_while_quiet()])

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _ask_while_quiet(self) -> None:
        """Ask for a token now and again while none comes by itself; for one at a time."""
        while True:
            if self._pulse.is_due:
                with self._pulse.asked():
                    while not await self._has_written():
                        await asyncio.sleep(AGAIN_S)
            await asyncio.sleep(LOOK_S)

    async def _look_while_quiet(self) -> None:
        """See whether others get tokens: the answers of a busy engine come whole, and may take longer."""
        before: float | None = None
        while True:
            if self._pulse.is_due and (now := await self._iterations()) is not None:
                if before is not None and now > before:
                    self._pulse.came()
                before = now
            await asyncio.sleep(LOOK_S)

    async def _iterations(self) -> float | None:
        """How often the engine has written for somebody; None of a server that does not tell."""
        try:
            counts = _ITERATIONS.findall((await self._client.get(self._metrics_url)).text)
            return sum(map(float, counts)) if counts else None
        except (httpx.RequestError, ValueError):
            return None

    async def _has_written(self) -> bool:
        before = self._pulse.came_at
        try:
            await self._completed(_ONE_TOKEN, self._silent_s)
        except Problem as problem:
            if self._pulse.came_at == before:  # else the engine is busy with others
                self._pulse.failed(problem)
            return False
        return True

    def _refuse_while_it_hangs(self) -> None:
        """Raise a problem at once, for it would come anyway, and the request would take others' place meanwhile."""
        if self._pulse.hangs:
            raise self._pulse.problem or _unavailable(f"the engine has written nothing for {self._pulse.vain_s:.0f} s")

    async def _completed(self, order: Order, timeout_s: float) -> list[str]:
        async with self._request(order, timeout_s, stream=False) as response:
            answer = json.loads(await response.aread())
            choices = sorted(answer["choices"], key=lambda choice: choice["index"])
            self._pulse.came()
            return [choice["message"]["content"] or "" for choice in choices]

    @asynccontextmanager
    async def _request(self, order: Order, timeout_s: float, *, stream: bool) -> AsyncIterator[httpx.Response]:
        try:
            async with asyncio.timeout(timeout_s):
                body = order.body(await self._served_model(), stream=stream)
                request = self._client.stream("POST", "chat/completions", json=body)
                with self._pulse.asked():
                    async with request as response:
                        await self._refuse_errors(response)
                        yield response
        except (httpx.RequestError, TimeoutError) as error:
            log.warning("engine_unavailable", error=repr(error))
            raise _unavailable("the engine does not answer") from error
        except (ValueError, LookupError, TypeError, AttributeError) as error:
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
