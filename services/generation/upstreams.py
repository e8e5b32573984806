"""Upstreams: OpenAI-compatible servers with other models, which write the posts of some arms in the engine's place."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from generation.completions import Completion, CompletionRequest, Delta, Usage
from generation.engine import EngineClient
from generation.engine_connection import EngineConnection
from generation.request_limit import RequestLimit
from kit.problems import Problem
from slop.arms import ARMS, Arm

LOOKED_S: Final = 15.0  # between two looks whether an upstream answers
_REFUSES_US: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


class UpstreamDown(RuntimeError):  # noqa: N818
    """An upstream does not answer, or refuses this service."""


class Upstream(BaseModel):
    """One upstream, as the settings name it.

    Attributes:
        url: base URL of its OpenAI API.
        model: its name of the model; None: the first that it lists.
        key: its API key; None: it asks for none.
        max_tokens_name: what it calls the longest answer. Newer models of OpenAI's take only the second.
        leave_out: parameters that it does not take, as `temperature` of models that reason.
        more: parameters that every request has besides, as `{"reasoning_effort": "minimal"}`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: str = Field(pattern=r"^https?://")
    model: str | None = None
    key: SecretStr | None = None
    max_tokens_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    leave_out: tuple[str, ...] = ()
    more: dict[str, Any] = Field(default_factory=dict)


def usable_upstreams(upstreams: Mapping[Arm, Upstream], engine_urls: Collection[str]) -> Mapping[Arm, Upstream]:
    """The upstreams themselves, if they can write for their arms.

    Args:
        upstreams: by arm.
        engine_urls: of the engines, which any arm may name.

    Raises:
        ValueError: an arm whose posts are written under soft prompts has another upstream than the engine.
    """
    for arm, upstream in upstreams.items():
        if ARMS[arm].soft_prompts and upstream.url.rstrip("/") not in engine_urls:
            raise ValueError(
                f"the arm {arm} writes under soft prompts, which only the engine takes: it can't have an upstream"
            )
    return upstreams


class UpstreamConnection(EngineConnection):
    """Sends requests to an upstream, with the parameters that it takes."""

    def __init__(self, upstream: Upstream, connect_timeout_s: float, timeout_s: float, connections: int) -> None:
        """As `EngineConnection`; `upstream` has its URL, model and key."""
        key = None if upstream.key is None else upstream.key.get_secret_value()
        super().__init__(upstream.url, upstream.model, connect_timeout_s, timeout_s, connections, key)
        self._upstream = upstream

    def body(self, request: CompletionRequest, model: str, *, stream: bool) -> dict[str, Any]:
        """As `EngineConnection.body`, for this upstream."""
        upstream, body = self._upstream, request.body(model, stream=stream)
        del body["min_p"]  # vLLM's own
        body[upstream.max_tokens_name] = body.pop("max_tokens")
        return {name: value for name, value in body.items() if name not in upstream.leave_out} | upstream.more


class UpstreamClient(EngineClient):
    """Asks an upstream for texts. It is not watched: a request that gets no answer ends after `timeout_s`."""

    def __init__(
        self, arm: Arm, upstream: Upstream, connect_timeout_s: float, timeout_s: float, connections: int
    ) -> None:
        """Connects when it is used.

        Args:
            arm: whose posts it writes, for messages.
            upstream: which.
            connect_timeout_s: how long connecting may take.
            timeout_s: how long a whole request may take.
            connections: at most.
        """
        super().__init__(UpstreamConnection(upstream, connect_timeout_s, timeout_s, connections), silent_s=timeout_s)
        self._arm, self._looked_at, self._down = arm, -LOOKED_S, ""

    async def complete(self, request: CompletionRequest) -> Completion:
        """As `EngineClient.complete`."""
        async with self._named():
            return await super().complete(request)

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[Delta | Usage, None]:
        """As `EngineClient.stream`."""
        async with self._named(), aclosing(super().stream(request)) as deltas:
            async for delta in deltas:
                yield delta

    async def check(self) -> None:
        """Raise if the upstream does not answer, or refuses this service; it is asked every LOOKED_S seconds.

        Raises:
            UpstreamDown: so it was when it was asked last.
        """
        if time.monotonic() - self._looked_at >= LOOKED_S:
            self._looked_at, self._down = time.monotonic(), await self._look()
        if self._down:
            raise UpstreamDown(self._down)

    async def _look(self) -> str:
        """Why the upstream is down; empty if it isn't. One that does not list its models may write all the same."""
        try:
            status = (await self._connection.models()).status_code
        except httpx.HTTPError as error:
            return f"{type(error).__name__}: {error}"
        down = status in _REFUSES_US or status >= HTTPStatus.INTERNAL_SERVER_ERROR
        return f"it answers {status}" if down else ""

    @asynccontextmanager
    async def _named(self) -> AsyncIterator[None]:
        """Say in problems that they are of this upstream."""
        try:
            yield
        except Problem as problem:
            detail = f"the upstream of the arm {self._arm}: {problem.detail.replace('the engine', 'it')}"
            raise Problem(problem.status, detail, retry_after_s=problem.retry_after_s, **problem.members) from problem


@dataclass(frozen=True, slots=True)
class Upstreams:
    """The upstreams of arms, each with a bound of its own, so that one that hangs takes no turn from any other.

    Attributes:
        clients: by arm.
        limits: by arm.
    """

    clients: Mapping[Arm, UpstreamClient] = field(default_factory=dict)
    limits: Mapping[Arm, RequestLimit] = field(default_factory=dict)

    async def check(self, arms: Collection[Arm]) -> None:
        """Raise if all readers are in arms whose upstreams are down.

        Args:
            arms: that readers are in.

        Raises:
            UpstreamDown: nobody is answered.
        """
        if not set(arms) <= self.clients.keys():
            return
        outcomes = await asyncio.gather(*(self.clients[arm].check() for arm in arms), return_exceptions=True)
        errors: Sequence[BaseException] = [error for error in outcomes if error is not None]
        if len(errors) == len(outcomes):
            raise errors[0]

    async def close(self) -> None:
        """Close all connections."""
        for client in self.clients.values():
            await client.close()
