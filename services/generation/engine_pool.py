"""Several engines as one: a reader stays on one of them, and goes to the next while that one does not write.

Which one is by rendezvous hashing (Thaler and Ravishankar 1998, "Using name-based mappings to increase hit rates",
section III): an engine that is added or gone moves only its own share of the readers.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import aclosing
from functools import partial
from hashlib import blake2b
from typing import Final

import structlog

from generation import metrics
from generation.completions import Completion, CompletionRequest, Delta, Usage
from generation.engine import EngineClient
from generation.engine_progress import NoToken
from generation.engine_refusals import EngineFailure
from generation.tasks import gathered

CHECK_S: Final = 0.8  # below the second that a check of /readyz may take

log = structlog.stdlib.get_logger(__name__)


def rendezvous(reader: str, engines: Collection[str]) -> list[str]:
    """The engines in the order in which a reader's requests try them: by a hash of reader and engine."""
    return sorted(
        engines,
        key=lambda engine: blake2b(f"{engine}\n{reader}".encode(), digest_size=8, person=b"slop-engine").digest(),
    )


class EnginePool:
    """Asks engines for texts as `EngineClient` asks one.

    A request whose engine fails before its first token goes to the next engine. A stream that has begun ends with the
    problem, since another engine would write another text. What is the request's own fault is not tried again.
    """

    def __init__(self, engines: Sequence[EngineClient]) -> None:
        """Of engines with different names, at least one."""
        self.engines = {engine.name: engine for engine in engines}
        if len(self.engines) < len(engines) or not engines:
            raise ValueError("engines are told apart by host and port")
        for engine in engines:
            metrics.watch_engine(engine.name, partial(_is_up, engine), partial(_requests, engine))

    async def served_model(self, *, anew: bool = False) -> str:
        """As `EngineClient.served_model`, of the first engine that answers."""
        failure: EngineFailure | None = None
        for engine in self._usable(list(self.engines.values())):
            try:
                return await engine.served_model(anew=anew)
            except EngineFailure as error:
                failure = error
        raise failure or self._failure()

    async def complete(self, request: CompletionRequest) -> Completion:
        """As `EngineClient.complete`."""
        failure: EngineFailure | None = None
        for engine in self._in_order(request):
            try:
                return await engine.complete(request)
            except EngineFailure as error:
                failure = _moved_on(engine, error)
        raise failure or self._failure()

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[Delta | Usage, None]:
        """As `EngineClient.stream`."""
        failure: EngineFailure | None = None
        for engine in self._in_order(request):
            begun = False
            try:
                async with aclosing(engine.stream(request)) as deltas:
                    async for delta in deltas:
                        begun = True
                        yield delta
                return
            except EngineFailure as error:
                if begun:
                    raise
                failure = _moved_on(engine, error)
        raise failure or self._failure()

    async def check(self) -> None:
        """Raise if no engine writes.

        Raises:
            httpx.HTTPError, BasisMismatch, NoToken: why the only engine does not.
            NoToken: why each of several engines does not.
        """
        if len(self.engines) == 1:
            (only,) = self.engines.values()
            await only.check()
            return
        checks = {name: asyncio.create_task(self.check_engine(name)) for name in self.engines}
        try:
            for check in asyncio.as_completed(checks.values()):
                try:
                    await check
                except Exception as error:
                    log.debug("engine_check_failed", error=repr(error))
                    continue
                return
            reasons = (f"{name}: {task.exception()!r}" for name, task in checks.items())
            raise NoToken("; ".join(reasons))
        finally:
            for task in checks.values():
                task.cancel()

    async def check_engine(self, name: str) -> None:
        """Raise if the engine of this name does not write.

        Raises:
            TimeoutError: its server does not answer in CHECK_S seconds.
            httpx.HTTPError, BasisMismatch, NoToken: as `EngineClient.check` does.
        """
        async with asyncio.timeout(CHECK_S):
            await self.engines[name].check()

    async def watch(self, probe: Callable[[], CompletionRequest]) -> None:
        """As `EngineClient.watch`, of all engines."""
        await gathered(engine.watch(probe) for engine in self.engines.values())

    async def close(self) -> None:
        """Close all connections."""
        for engine in self.engines.values():
            await engine.close()

    def _in_order(self, request: CompletionRequest) -> list[EngineClient]:
        """The engines to ask, the first one first: the reader's own, or for nobody in particular the least busy one."""
        if request.reader is None:
            engines = sorted(self.engines.values(), key=lambda engine: engine.requests)
        else:
            engines = [self.engines[name] for name in rendezvous(request.reader, self.engines)]
        return self._usable(engines)

    @staticmethod
    def _usable(engines: Sequence[EngineClient]) -> list[EngineClient]:
        """Those that write. One that refuses the soft prompts is asked only if there is no other: for plain posts."""
        closed = [engine for engine in engines if engine.failure is None]
        return [engine for engine in closed if engine.takes_the_basis] or closed[:1]

    def _failure(self) -> EngineFailure:
        """Why no engine may be asked."""
        failures = (engine.failure for engine in self.engines.values())
        return next((one for one in failures if one is not None), EngineFailure("no engine writes now"))


def _moved_on(engine: EngineClient, failure: EngineFailure) -> EngineFailure:
    log.warning("engine_failed", engine=engine.name, detail=failure.detail)
    metrics.ENGINE_FAILURES.labels(engine.name).inc()
    return failure


def _requests(engine: EngineClient) -> int:
    return engine.requests


def _is_up(engine: EngineClient) -> bool:
    try:
        engine.check_progress()
    except RuntimeError:  # BasisMismatch, NoToken
        return False
    return True


Engine = EngineClient | EnginePool
