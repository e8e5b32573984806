"""A running system for a study: its three APIs, and waiting until all is learned."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.progress import Progress

from client.engine import StockEngine
from client.errors import UserError
from client.rest import CONCURRENCY, TIMEOUT_S, Collector, Generation, Rest
from infra.local import up
from infra.local.up import running_stack
from research.writers import Writer
from slop.basis import Basis, Template
from slop.settings import CommonSettings

POLL_S: Final = 0.2
STALLED_S: Final = 120.0
PROBE: Final = "study-probe"
LONGEST_ANSWER_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class StudyStack:
    """The APIs of a running system."""

    collector: Collector
    generation: Generation
    engine: StockEngine

    async def register(self, texts: Mapping[str, str], progress: Progress) -> None:
        """Send posts, {post id: text}, and wait until the features of all of them are there.

        Raises:
            UserError: for two minutes no further post became ready.
        """
        await self.collector.send_posts(dict(texts))
        pending = list(texts)
        task = progress.add_task("features of posts", total=len(pending))
        patience = Patience("no further post got its features: is the featurizer running?")
        while pending:
            scores = await self.generation.rank(PROBE, pending)
            left = [post_id for post_id, score in zip(pending, scores, strict=True) if score is None]
            progress.update(task, completed=len(texts) - len(left))
            await patience.wait(len(left))
            pending = left

    async def until_learned(self, interactions: Mapping[str, int]) -> None:
        """Wait until every profile has learned so many interactions, given as {user id: count}.

        Raises:
            UserError: for two minutes no profile moved.
        """
        missing = dict(interactions)
        patience = Patience("profiles stopped moving: are the featurizer and the learner running?")
        while missing:
            profiles = await asyncio.gather(*(self.generation.profile(user_id) for user_id in missing))
            learned = dict(zip(missing, (profile.interactions for profile in profiles), strict=True))
            missing = {user_id: interactions[user_id] - count for user_id, count in learned.items()}
            missing = {user_id: count for user_id, count in missing.items() if count > 0}
            await patience.wait(sum(missing.values()))


class Patience:
    """Waits for work that others do, and gives up when what is left has stopped shrinking."""

    def __init__(self, complaint: str, stalled_s: float = STALLED_S) -> None:
        self._complaint, self._stalled_s = complaint, stalled_s
        self._left: int | None = None
        self._moved_at = time.monotonic()

    async def wait(self, left: int) -> None:
        """Pause before the next look, if anything is left.

        Raises:
            UserError: what is left has been the same for too long.
        """
        if left != self._left:
            self._left, self._moved_at = left, time.monotonic()
        if time.monotonic() - self._moved_at > self._stalled_s:
            raise UserError(f"for {self._stalled_s:.0f} s {self._complaint}")
        if left:
            await asyncio.sleep(POLL_S)


@asynccontextmanager
async def engine_of(
    running: up.LocalStack, template: Template, concurrency: int = CONCURRENCY, timeout_s: float = TIMEOUT_S
) -> AsyncIterator[StockEngine]:
    """The engine of a running stack, for the time of the context."""
    url = running.vllm_url.removesuffix("/").removesuffix("/v1")
    async with Rest(url, concurrency, timeout_s) as rest:
        yield await StockEngine.of(rest, template)


@asynccontextmanager
async def writer(
    console: Console, basis: Basis, *, local: bool = False, concurrency: int = CONCURRENCY
) -> AsyncIterator[Writer]:
    """A writer with the base model of a basis, for the time of the context.

    Args:
        console: told what is started.
        basis: whose template is used.
        local: write with transformers in this process, rather than with the vLLM that runs or one that is started.
        concurrency: requests at a time that vLLM is sent.

    Raises:
        UserError, StackFailed, MissingBinary: there is nothing to write with; the message says why.
    """
    if local:
        from research.base_model import base_model  # torch takes seconds, and much memory
        from research.local_writer import LocalWriter

        yield LocalWriter.load(str(base_model(basis)), basis.template, basis.model)
        return
    with running_stack(console, ["vllm"]) as running:
        async with engine_of(running, basis.template, concurrency, LONGEST_ANSWER_S) as engine:
            yield engine


@asynccontextmanager
async def connected(running: up.LocalStack, concurrency: int) -> AsyncIterator[StudyStack]:
    """The APIs of a running stack, for the time of the context."""
    template = Basis.load(CommonSettings().basis_dir).template
    async with (
        Rest(running.collector_url, concurrency) as collector,
        Rest(running.generation_url, concurrency) as generation,
        engine_of(running, template, concurrency) as engine,
    ):
        yield StudyStack(Collector(collector), Generation(generation), engine)
