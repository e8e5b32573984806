"""The client of the engine: an OpenAI-compatible inference server that takes `prompt_embeds`, as vLLM does."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import httpx
import structlog
from httpx_sse import EventSource

from generation.answers import StreamedAnswer, completion_of
from generation.completions import Completion, CompletionRequest, Delta, Usage
from generation.engine_circuit import EngineCircuit
from generation.engine_connection import EngineConnection, understood
from generation.engine_progress import EngineProgress, NoToken
from generation.engine_refusals import BasisRefused, EngineFailure, reason_of
from generation.tasks import gathered
from kit.problems import Problem

LOOK_S: Final = 1.0
PROBE_PAUSE_S: Final = 1.0
STREAM_END: Final = "[DONE]"  # the last event of a stream, by the OpenAI API
log = structlog.stdlib.get_logger(__name__)


class BasisMismatch(RuntimeError):  # noqa: N818
    """The engine refuses the soft prompts of the basis: its model is another one, or it takes no soft prompts."""


class EngineClient:
    """Asks one engine for texts, each request within a time limit. While it hangs, requests are refused at once.

    `watch` has to run meanwhile: it finds out whether the engine hangs, and whether it takes the basis' soft prompts.

    Attributes:
        name: host and port of the engine, without any credentials.
    """

    def __init__(self, connection: EngineConnection, silent_s: float) -> None:
        """Connects when it is used.

        Args:
            connection: to the engine, closed with this; its `timeout_s` is how long a whole request may take.
            silent_s: the engine hangs if it was asked for tokens and has written none for so long.
        """
        self.name, self._connection = host_and_port(connection.url), connection
        self._timeout_s, self._silent_s, self._progress = connection.timeout_s, silent_s, EngineProgress(silent_s)
        self._circuit = EngineCircuit(self.name)
        self._waiting: set[asyncio.Timeout] = set()  # of the requests that end when the engine hangs

    @property
    def requests(self) -> int:
        """How many requests wait for tokens."""
        return self._progress.requests

    @property
    def failure(self) -> EngineFailure | None:
        """Why it is not to be asked now; None if it may be."""
        if self._circuit.failure is not None:
            return self._circuit.failure
        if self._progress.hangs:
            problem, waited_s = self._progress.problem, self._progress.waited_s
            return EngineFailure(problem.detail if problem else f"the engine has written nothing for {waited_s:.0f} s")
        return None

    @property
    def takes_the_basis(self) -> bool:
        """Whether it has not refused the basis' soft prompts."""
        return not self._connection.mismatch

    async def served_model(self, *, anew: bool = False) -> str:
        """The engine's name of its model, as it was last asked, or is asked `anew`.

        Raises:
            Problem: it can't be asked now.
        """
        async with understood(), asyncio.timeout(self._timeout_s):
            return await self._connection.served_model(anew=anew)

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
                    raise EngineFailure(f"the engine stopped: {reason_of(event.data)}")
                for delta in answer.deltas(chunk):
                    self._wrote()
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
        (await self._connection.models()).raise_for_status()
        self.check_progress()

    def check_progress(self) -> None:
        """`check`, without asking the server anything.

        Raises:
            BasisMismatch: it refuses the soft prompts.
            NoToken: the engine writes nothing, or refuses requests.
        """
        if self._connection.mismatch:
            raise BasisMismatch(self._connection.mismatch)
        if self._circuit.failure is not None:
            raise NoToken(self._circuit.failure.detail)
        self._progress.check()

    async def watch(self, probe: Callable[[], CompletionRequest]) -> None:
        """Keep finding out whether the engine writes, until cancelled.

        Args:
            probe: what to ask for: as little as possible, with a soft prompt of the basis that is live now.
        """
        await gathered([self._probe_while_silent(probe), self._look_while_silent(), self._end_what_hangs()])

    async def close(self) -> None:
        """Close all connections."""
        await self._connection.close()

    async def _probe_while_silent(self, probe: Callable[[], CompletionRequest]) -> None:
        """While no tokens come by themselves, or anything is refused: ask for a token now and again."""
        while True:
            if self._progress.probe_is_due or self._connection.mismatch or self._circuit.failure:
                with self._progress.request():
                    while not (await self._has_written(probe()) or self._connection.mismatch):
                        await asyncio.sleep(PROBE_PAUSE_S)
            await asyncio.sleep(LOOK_S)

    async def _look_while_silent(self) -> None:
        """See whether other requests get tokens: the answers of a busy engine come whole, and may take longer."""
        before: float | None = None
        while True:
            if self._progress.probe_is_due and (now := await self._connection.iterations()) is not None:
                if before is not None and now > before:
                    self._progress.wrote()
                before = now
            await asyncio.sleep(LOOK_S)

    async def _end_what_hangs(self) -> None:
        """End the requests that wait for an engine that hangs: another engine may answer them."""
        while True:
            if self._progress.hangs and self._waiting:
                log.warning("engine_hangs", engine=self.name, requests=len(self._waiting))
                for timeout in self._waiting:
                    timeout.reschedule(asyncio.get_running_loop().time())
                self._waiting.clear()
            await asyncio.sleep(LOOK_S)

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
            self._connection.switch_system_role()
            try:
                await self._token(probe)
            except Problem:
                self._connection.switch_system_role()
                raise problem from None
            log.info(
                "system_role_known" if self._connection.has_system_role else "system_role_unknown",
                detail=problem.detail,
            )

    async def _token(self, probe: CompletionRequest) -> None:
        """Whatever the answer is: a model that thinks has written no text after one token."""
        async with self._response(probe, self._silent_s, stream=False, is_probe=True) as response:
            await response.aread()
            self._wrote()

    def _refuse_while_it_hangs(self) -> None:
        """Raise at once: waiting would end in the same problem, and hold up other requests meanwhile."""
        if self._progress.hangs and self.failure is not None:
            raise self.failure

    def _wrote(self) -> None:
        self._progress.wrote()
        self._circuit.wrote()

    async def _completed(self, request: CompletionRequest, timeout_s: float) -> Completion:
        async with self._response(request, timeout_s, stream=False) as response:
            answer = json.loads(await response.aread())
            self._wrote()
            return completion_of(answer, request.n)

    @asynccontextmanager
    async def _response(
        self, request: CompletionRequest, timeout_s: float, *, stream: bool, is_probe: bool = False
    ) -> AsyncIterator[httpx.Response]:
        async with self._failures_counted(), understood(), self._until_it_hangs(timeout_s, is_probe):
            request = await self._connection.fitted(request)
            with self._progress.request():
                async with self._connection.sent(request, stream=stream) as response:
                    yield response

    @asynccontextmanager
    async def _until_it_hangs(self, timeout_s: float, is_probe: bool) -> AsyncIterator[None]:
        """End the block with a TimeoutError after `timeout_s`, or with an EngineFailure when the engine hangs.

        The probe goes on: it is what finds out whether the engine writes again.
        """
        timeout = asyncio.timeout(timeout_s)
        try:
            async with timeout:
                if not is_probe:
                    self._waiting.add(timeout)
                yield
        except TimeoutError as error:
            if is_probe or timeout in self._waiting:
                raise
            raise self.failure or EngineFailure("the engine hangs") from error
        finally:
            self._waiting.discard(timeout)

    @asynccontextmanager
    async def _failures_counted(self) -> AsyncIterator[None]:
        try:
            yield
        except BasisRefused:
            raise
        except EngineFailure as failure:
            self._circuit.failed(failure)
            raise


def host_and_port(url: str) -> str:
    """Host and port of a URL, by which people tell engines apart."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
