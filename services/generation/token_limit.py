"""Whether a request fits the model, before the engine is asked to write: its length in tokens of this very model."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final

import httpx
import structlog

from generation import metrics
from generation.completions import CompletionRequest
from generation.engine_refusals import TOO_LONG
from kit.problems import Problem

TEMPLATE_TOKENS: Final = 32
"""More than a chat template adds to one message, and before the answer."""

LEAST_ANSWER: Final = 128  # tokens that what a request only shows leaves for its answer

log = structlog.stdlib.get_logger(__name__)


class TokenLimit:
    """Refuses requests that are longer than the engine's model can read and write.

    A token is at least one byte of UTF-8, in byte-level BPE and in SentencePiece with byte fallback. So a request with
    fewer bytes than the model has places surely fits, and nothing is asked. Only a longer one is counted, by vLLM's
    `POST /tokenize`. An engine that does not say how long requests may be, or does not count, is left to refuse them.
    """

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        """Of the engine at the base URL of its OpenAI API; asks with `client`, whose base URL that is."""
        self._client, self._tokenize_url = client, url.rstrip("/").removesuffix("/v1") + "/tokenize"
        self._limit: int | None = None
        self._is_known = False

    def forget(self) -> None:
        """The engine may be another one: ask it anew."""
        self._is_known = False

    async def fitted(self, request: CompletionRequest, model: str) -> CompletionRequest:
        """The request, with as much of what it shows, and for texts as long, as fits a model of this name.

        See `shown` and `may_shorten` of `CompletionRequest`.

        Raises:
            Problem: as `check`.
        """
        while True:
            try:
                await self.check(request, model)
            except Problem as problem:
                room = request.max_tokens - problem.members["over_tokens"]
                if request.may_shorten and room >= (LEAST_ANSWER if request.shown else 1):
                    return replace(request, max_tokens=room)
                if request.shown:
                    request = request.with_less_shown
                else:
                    metrics.REFUSED.labels(metrics.Refusal.TOO_LONG).inc()
                    raise
            else:
                return request

    async def check(self, request: CompletionRequest, model: str) -> None:
        """Refuse a request that is too long for a model of this name.

        Raises:
            Problem: 422 with the code TOO_LONG, the limit, and how far over it the request is.
        """
        limit = await self._limit_of(model)
        if limit is None or at_most_tokens(request) + request.max_tokens <= limit:
            return
        count = await self._counted(request, model)
        if count is None or count + request.max_tokens <= limit:
            return
        over = count + request.max_tokens - limit
        detail = (
            f"the request has {count} tokens and asks for {request.max_tokens} more; that is {over} over the {limit} "
            "that this model can read and write"
        )
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, code=TOO_LONG, limit_tokens=limit, over_tokens=over)

    async def _limit_of(self, model: str) -> int | None:
        """How many tokens the model can read and write; None if the engine does not say."""
        if not self._is_known:
            answer = await self._answered("GET", "models", None)
            models = answer.get("data") if answer else None
            found = [one for one in models or () if isinstance(one, dict) and one.get("id") == model]
            limit = found[0].get("max_model_len") if found else None
            self._limit, self._is_known = limit if isinstance(limit, int) else None, answer is not None
        return self._limit

    async def _counted(self, request: CompletionRequest, model: str) -> int | None:
        """The request's tokens; None if the engine does not count."""
        messages = [{"role": one["role"], "content": "\n".join(_texts(one))} for one in request.safe_messages]
        answer = await self._answered("POST", self._tokenize_url, {"model": model, "messages": messages})
        count = answer.get("count") if answer else None
        return count + request.soft_tokens if isinstance(count, int) else None

    async def _answered(self, method: str, url: str, body: Mapping[str, Any] | None) -> dict[str, Any] | None:
        try:
            response = await self._client.request(method, url, json=body)
            answer = response.raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            log.warning("engine_does_not_count", url=url, error=repr(error))
            return None
        return answer if isinstance(answer, dict) else None


def at_most_tokens(request: CompletionRequest) -> int:
    """As many tokens as a request can have at most, by its bytes."""
    size = sum(len(text.encode("utf-8", "replace")) for message in request.safe_messages for text in _texts(message))
    return size + request.soft_tokens + TEMPLATE_TOKENS * (len(request.messages) + 1)


def _texts(message: Mapping[str, Any]) -> Iterator[str]:
    content = message["content"]
    if isinstance(content, str):
        yield content
        return
    for part in content:
        if part["type"] == "text":
            yield part["text"]
