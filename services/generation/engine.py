"""The client of the engine: an OpenAI-compatible inference server that takes `prompt_embeds`, as vLLM does."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final

import httpx
import structlog
from httpx_sse import EventSource

from generation.answers import StreamedAnswer, completion_of
from generation.completions import Completion, CompletionRequest, Delta, Usage
from generation.engine_progress import EngineProgress
from generation.engine_refusals import problem_of, reason_of, refuses_soft_prompt, unavailable
from generation.tasks import gathered
from generation.token_limit import TokenLimit
from kit.problems import Problem

# Below the 5 s after which vLLM closes an idle connection, so that none is used while it closes.
KEEPALIVE_S: Final = 3.0
LOOK_S: Final = 1.0
PROBE_PAUSE_S: Final = 2.0
STREAM_END: Final = "[DONE]"  # the last event of a stream, by the OpenAI API
# vLLM's own count of the iterations in which any request got a token; with a colon or, in OpenMetrics, without.
_ITERATIONS: Final = re.compile(r"^vllm[:_]iteration_tokens_total_count\S* (\S+)", re.M)

log = structlog.stdlib.get_logger(__name__)


class BasisMismatch(RuntimeError):  # noqa: N818
    """The engine refuses the soft prompts of the basis: its model is another one, or it takes no soft prompts."""


class EngineClient:
    """Asks the engine for texts, each request within `timeout_s`. While the engine hangs, requests are refused at once.

    `watch` has to run meanwhile: it finds out whether the engine hangs, and whether it takes the basis' soft prompts.
    """

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
            model: the engine's name of the model; None: the first that it lists.
            connect_timeout_s: how long connecting may take.
            timeout_s: how long a whole request may take.
            connections: at most.
            silent_s: the engine hangs if it was asked for tokens and has written none for so long.
        """
        self._configured_model = self._model = model
        self._timeout_s, self._silent_s, self._progress = timeout_s, silent_s, EngineProgress(silent_s)
        self._mismatch, self._system_role = "", True
        self._metrics_url = url.rstrip("/").removesuffix("/v1") + "/metrics"
        self._client = httpx.AsyncClient(
            base_url=url.rstrip("/") + "/",
            timeout=httpx.Timeout(timeout_s, connect=connect_timeout_s),
            limits=httpx.Limits(max_connections=connections, keepalive_expiry=KEEPALIVE_S),
            trust_env=False,
        )
        self._limit = TokenLimit(self._client, url)

    async def served_model(self, *, anew: bool = False) -> str:
        """The engine's name of its model, as it was last asked, or is asked `anew`.

        Raises:
            Problem: it can't be asked now.
        """
        if anew:
            self._model = self._configured_model
        async with _understood(), asyncio.timeout(self._timeout_s):
            return await self._served_model()

    async def complete(self, request: CompletionRequest) -> Completion:
        """The texts, in order, and their usage.

        Raises:
            Problem: there are none, and why.
        """
        self._refuse_while_it_hangs()
        return (await self._completed(request.drawn_once, self._timeout_s)).for_all(request.n)

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[Delta | Usage, None]:
        """The texts in pieces, as they are written, and at last their usage.

        Raises:
            Problem: they end early, and why.
        """
        self._refuse_while_it_hangs()
        asked = request.drawn_once
        answer, copies = StreamedAnswer(asked.n), request.n // asked.n
        async with self._response(asked, self._timeout_s, stream=True) as response:
            async for event in EventSource(response).aiter_sse():
                if event.data == STREAM_END:
                    continue
                chunk = event.json()
                if "error" in chunk:
                    raise unavailable(f"the engine stopped: {reason_of(event.data)}")
                for delta in answer.deltas(chunk):
                    self._progress.wrote()
                    for copy in range(copies):
                        yield replace(delta, index=delta.index + copy)
                if usage := chunk.get("usage"):
                    yield Usage.of(usage)
            answer.end()

    async def check(self) -> None:
        """Raise if the server does not answer, refuses the basis' soft prompts, or the engine behind it writes nothing.

        Raises:
            httpx.HTTPError: the server does not answer.
            BasisMismatch: it refuses the soft prompts.
            NoToken: the engine writes nothing.
        """
        (await self._client.get("models")).raise_for_status()
        if self._mismatch:
            raise BasisMismatch(self._mismatch)
        self._progress.check()

    async def watch(self, probe: Callable[[], CompletionRequest]) -> None:
        """Keep finding out whether the engine writes, until cancelled.

        Args:
            probe: what to ask for: as little as possible, with a soft prompt of the basis that is live now.
        """
        await gathered([self._probe_while_silent(probe), self._look_while_silent()])

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _probe_while_silent(self, probe: Callable[[], CompletionRequest]) -> None:
        """While no tokens come by themselves, or soft prompts are refused: ask for a token now and again."""
        while True:
            if self._progress.probe_is_due or self._mismatch:
                with self._progress.request():
                    while not (await self._has_written(probe()) or self._mismatch):
                        await asyncio.sleep(PROBE_PAUSE_S)
            await asyncio.sleep(LOOK_S)

    async def _look_while_silent(self) -> None:
        """See whether other requests get tokens: the answers of a busy engine come whole, and may take longer."""
        before: float | None = None
        while True:
            if self._progress.probe_is_due and (now := await self._iterations()) is not None:
                if before is not None and now > before:
                    self._progress.wrote()
                before = now
            await asyncio.sleep(LOOK_S)

    async def _iterations(self) -> float | None:
        """How many iterations the engine counts in which any request got a token; None if the server does not say."""
        try:
            counts = _ITERATIONS.findall((await self._client.get(self._metrics_url)).text)
            return sum(map(float, counts)) if counts else None
        except (httpx.RequestError, ValueError):
            return None

    async def _has_written(self, probe: CompletionRequest) -> bool:
        before = self._progress.wrote_at
        try:
            await self._probed(probe)
        except Problem as problem:
            if self._progress.wrote_at == before:  # else the engine is busy with other requests
                self._progress.probe_failed(problem)
            return False
        return True

    async def _probed(self, probe: CompletionRequest) -> None:
        """Ask for a token. Where that is refused, try without the role `system`, which some templates do not know."""
        try:
            await self._token(probe)
        except Problem as problem:
            if problem.status != HTTPStatus.UNPROCESSABLE_ENTITY:
                raise
            self._system_role = not self._system_role
            try:
                await self._token(probe)
            except Problem:
                self._system_role = not self._system_role
                raise problem from None
            log.info("system_role_known" if self._system_role else "system_role_unknown", detail=problem.detail)

    async def _token(self, probe: CompletionRequest) -> None:
        """Whatever the answer is: a model that thinks has written no text after one token."""
        async with self._response(probe, self._silent_s, stream=False) as response:
            await response.aread()
            self._progress.wrote()

    def _refuse_while_it_hangs(self) -> None:
        """Raise at once: waiting would end in the same problem, and hold up other requests meanwhile."""
        if self._progress.hangs:
            waited_s = self._progress.waited_s
            raise self._progress.problem or unavailable(f"the engine has written nothing for {waited_s:.0f} s")

    async def _completed(self, request: CompletionRequest, timeout_s: float) -> Completion:
        async with self._response(request, timeout_s, stream=False) as response:
            answer = json.loads(await response.aread())
            self._progress.wrote()
            return completion_of(answer, request.n)

    @asynccontextmanager
    async def _response(
        self, request: CompletionRequest, timeout_s: float, *, stream: bool
    ) -> AsyncIterator[httpx.Response]:
        async with _understood(), asyncio.timeout(timeout_s):
            model = await self._served_model()
            request = await self._limit.fitted(request, model)
            body = self._body(request, model, stream=stream)
            answered = self._client.stream("POST", "chat/completions", json=body)
            with self._progress.request():
                async with answered as response:
                    await self._refuse_errors(response)
                    if request.has_soft_prompt:
                        self._mismatch = ""
                    yield response

    def _body(self, request: CompletionRequest, model: str, *, stream: bool) -> dict[str, Any]:
        return request.body(model, stream=stream, system_role=self._system_role)

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
            self._limit.forget()
        problem = problem_of(response)
        if refuses_soft_prompt(response) and not self._mismatch:
            log.error("basis_does_not_fit_the_engine", detail=problem.detail)
            self._mismatch = problem.detail
        log.warning("engine_refused", status=response.status_code, detail=problem.detail)
        raise problem


@asynccontextmanager
async def _understood() -> AsyncIterator[None]:
    """Raise as a Problem that the engine does not answer, or answers what is not understood."""
    try:
        yield
    except (httpx.RequestError, TimeoutError) as error:
        log.warning("engine_unavailable", error=repr(error))
        raise unavailable("the engine does not answer") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        log.error("engine_not_understood", error=repr(error))
        raise Problem(HTTPStatus.BAD_GATEWAY, "the engine's answer was not understood") from error
