"""Asks the engine for one streamed token, and measures the time to it and the prompt's tokens."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import httpx
from httpx_sse import EventSource
from prometheus_client.parser import text_string_to_metric_families

from client.errors import UserError

TIMEOUT_S: Final = 600.0
_STREAM_END: Final = "[DONE]"  # by the OpenAI API
_CACHED: Final = "vllm:prefix_cache_hits_total"


@dataclass(frozen=True, slots=True)
class Answer:
    """The first token of an answer.

    Attributes:
        milliseconds: from sending the request to the token.
        cached_tokens: of the prompt's, those that the engine had kept from earlier requests.
    """

    milliseconds: float
    prompt_tokens: int
    cached_tokens: int

    @property
    def cached_share(self) -> float:
        """Of the prompt's tokens."""
        return self.cached_tokens / self.prompt_tokens


class CostEngine:
    """vLLM at `url`; nobody else may ask it meanwhile.

    Attributes:
        context: tokens that it takes.
        version: of vLLM.
    """

    def __init__(self, url: str, needed: int, advice: Mapping[str, str]) -> None:
        """Connect.

        Args:
            url: of its API, with /v1.
            needed: tokens that it must take.
            advice: the environment that starts one which does.

        Raises:
            UserError: it takes fewer, or does not answer.
        """
        base = url.rstrip("/").removesuffix("/v1")
        self._client = httpx.Client(base_url=base, timeout=TIMEOUT_S, trust_env=False)
        served = self._json("/v1/models")["data"][0]
        self.version = str(self._json("/version")["version"])
        self._model, self.context = str(served["id"]), int(served["max_model_len"])
        if self.context < needed:
            start = " ".join(f"{name}='{value}'" for name, value in advice.items())
            raise UserError(
                f"the vLLM at {url} takes {self.context} tokens, the longest prompts need {needed}: "
                f"stop it, and this study starts one that does; or start it anew with {start}"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ask(self, messages: Sequence[Mapping[str, Any]], salt: str) -> Answer:
        """One token after the messages; only requests with the same salt share what the engine keeps.

        Raises:
            UserError: the engine does not answer, or not with a token and its usage.
        """
        body = {
            "model": self._model,
            "messages": messages,
            "max_tokens": 1,
            "temperature": 0,
            "cache_salt": salt,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        before = self._cached_tokens()
        milliseconds, prompt_tokens = self._first_token(body)
        return Answer(milliseconds, prompt_tokens, self._cached_tokens() - before)

    def _first_token(self, body: Mapping[str, Any]) -> tuple[float, int]:
        first = usage = None
        try:
            begin = time.perf_counter()
            with self._client.stream("POST", "/v1/chat/completions", json=body) as response:
                if response.is_error:
                    raise UserError(f"the engine answered {response.status_code}: {response.read()[:500]!r}")
                for event in EventSource(response).iter_sse():
                    chunk = chunk_of(event.data)
                    if first is None and chunk.get("choices"):
                        first = 1_000 * (time.perf_counter() - begin)
                    usage = chunk.get("usage") or usage
        except httpx.HTTPError as error:
            raise UserError(f"no answer from the engine: {error!r}") from error
        if first is None or usage is None:
            raise UserError("the engine's answer has no token, or no usage")
        return first, int(usage["prompt_tokens"])

    def _cached_tokens(self) -> int:
        return cached_tokens(self._get("/metrics").text)

    def _json(self, path: str) -> Any:
        return self._get(path).json()

    def _get(self, path: str) -> httpx.Response:
        try:
            return self._client.get(path).raise_for_status()
        except httpx.HTTPError as error:
            raise UserError(f"no answer from the engine: {error!r}") from error


def chunk_of(data: str) -> dict[str, Any]:
    """The object of one event of the stream; empty for its last event.

    Raises:
        UserError: the engine says that it failed.
    """
    if data == _STREAM_END:
        return {}
    chunk: dict[str, Any] = json.loads(data)
    if "error" in chunk:
        raise UserError(f"the engine failed: {chunk['error']}")
    return chunk


def cached_tokens(exposition: str) -> int:
    """Prompt tokens that vLLM has found in its prefix cache since it started, by its metrics."""
    families = text_string_to_metric_families(exposition)
    return int(sum(s.value for family in families for s in family.samples if s.name == _CACHED))
