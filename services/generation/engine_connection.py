"""The connection to one engine: how requests are sent, and what is learned of the engine by its answers."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

import httpx
import structlog

from generation.completions import CompletionRequest
from generation.engine_refusals import EngineFailure, EngineUnreachable, problem_of, refuses_soft_prompt, unavailable
from generation.token_limit import TokenLimit
from kit.problems import Problem

# Below the 5 s after which vLLM closes an idle connection, so that none is used while it closes.
KEEPALIVE_S: Final = 3.0
# vLLM's own count of the iterations in which any request got a token; with a colon or, in OpenMetrics, without.
_ITERATIONS: Final = re.compile(r"^vllm[:_]iteration_tokens_total_count\S* (\S+)", re.M)

log = structlog.stdlib.get_logger(__name__)


class EngineConnection:
    """Sends requests to one engine.

    Attributes:
        url: base URL of its OpenAI API.
        timeout_s: how long it may send nothing.
        mismatch: why the engine refuses soft prompts of the basis; empty if it does not.
        has_system_role: whether its chat template is taken to know the role `system`.
    """

    def __init__(
        self,
        url: str,
        model: str | None,
        connect_timeout_s: float,
        timeout_s: float,
        connections: int,
        key: str | None = None,
    ) -> None:
        """Connects when it is used.

        Args:
            url: base URL of the OpenAI API.
            model: the engine's name of the model; None: the first that it lists.
            connect_timeout_s: how long connecting may take.
            timeout_s: how long the engine may send nothing.
            connections: at most.
            key: its API key; None: it asks for none.
        """
        self.url, self.timeout_s = url, timeout_s
        self.mismatch, self.has_system_role = "", True
        self._configured_model = self._model = model
        self._metrics_url = url.rstrip("/").removesuffix("/v1") + "/metrics"
        self._client = httpx.AsyncClient(
            base_url=url.rstrip("/") + "/",
            headers={} if key is None else {"Authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(timeout_s, connect=connect_timeout_s),
            limits=httpx.Limits(max_connections=connections, keepalive_expiry=KEEPALIVE_S),
            trust_env=False,
        )
        self._limit = TokenLimit(self._client, url)

    async def served_model(self, *, anew: bool = False) -> str:
        """The engine's name of its model, as it was last asked, or is asked `anew`.

        Raises:
            Problem: the engine refuses to tell it.
            httpx.RequestError, ValueError, LookupError, TypeError: it does not answer, or is not understood.
        """
        if anew:
            self._model = self._configured_model
        if self._model is None:
            response = await self.models()
            await self._refuse_errors(response)
            self._model = str(response.json()["data"][0]["id"])
        return self._model

    async def fitted(self, request: CompletionRequest) -> CompletionRequest:
        """The request as `TokenLimit.fitted` fits it to the engine's model.

        Raises:
            As `served_model`, and as `TokenLimit.fitted`.
        """
        return await self._limit.fitted(request, await self.served_model())

    @asynccontextmanager
    async def sent(self, request: CompletionRequest, *, stream: bool) -> AsyncIterator[httpx.Response]:
        """The engine's answer, whose body is not read yet.

        Raises:
            As `served_model`; Problem: the engine refuses the request.
        """
        body = self.body(request, await self.served_model(), stream=stream)
        async with self._client.stream("POST", "chat/completions", json=body) as response:
            await self._refuse_errors(response)
            if request.has_soft_prompt:
                self.mismatch = ""
            yield response

    def body(self, request: CompletionRequest, model: str, *, stream: bool) -> dict[str, Any]:
        """The JSON that is sent for a request to a model of this name."""
        return request.body(model, stream=stream, system_role=self.has_system_role)

    def switch_system_role(self) -> None:
        """Take the engine's chat template to know the role `system` if it was taken not to, and the other way round."""
        self.has_system_role = not self.has_system_role

    async def models(self) -> httpx.Response:
        """The engine's list of its models, or why it does not give it.

        Raises:
            httpx.RequestError: the server does not answer.
        """
        return await self._client.get("models")

    async def iterations(self) -> float | None:
        """How many iterations the engine counts in which any request got a token; None if the server does not say."""
        try:
            counts = _ITERATIONS.findall((await self._client.get(self._metrics_url)).text)
            return sum(map(float, counts)) if counts else None
        except (httpx.RequestError, ValueError):
            return None

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _refuse_errors(self, response: httpx.Response) -> None:
        if response.is_success:
            return
        await response.aread()
        if response.status_code == HTTPStatus.NOT_FOUND:
            self._model = self._configured_model  # restarted with another model: ask again next time
            self._limit.forget()
        problem = problem_of(response)
        if refuses_soft_prompt(response) and not self.mismatch:
            log.error("basis_does_not_fit_the_engine", detail=problem.detail)
            self.mismatch = problem.detail
        log.warning("engine_refused", status=response.status_code, detail=problem.detail)
        raise problem


@asynccontextmanager
async def understood() -> AsyncIterator[None]:
    """Raise as a Problem that the engine does not answer, or answers what is not understood."""
    try:
        yield
    except (httpx.RequestError, TimeoutError) as error:
        log.warning("engine_unavailable", error=repr(error))
        raise _no_answer(error) from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        log.error("engine_not_understood", error=repr(error))
        raise EngineFailure("the engine's answer was not understood", HTTPStatus.BAD_GATEWAY) from error


def _no_answer(error: httpx.RequestError | TimeoutError) -> Problem:
    """What it means that no answer came: one that takes too long may still come from an engine that is well."""
    detail = "the engine does not answer"
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return EngineUnreachable(detail)
    return unavailable(detail) if isinstance(error, httpx.TimeoutException | TimeoutError) else EngineFailure(detail)
