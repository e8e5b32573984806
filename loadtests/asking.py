"""Asking for chat completions, one or many at a time, streamed or whole, and how long they take."""

import asyncio
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
from httpx_sse import aconnect_sse

from client.errors import UserError

TOKENS: Final = 32
"""Of an answer; so few that not many end before."""

Side = Callable[[], Mapping[str, Any]]
"""Makes the next request of a side: the members that differ between sides, and `url`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    Attributes:
        first_s: seconds to its first token.
        whole_s: seconds to its last.
        prompt_tokens: that were read, positions of soft prompts included.
        tokens: that were written.
    """

    first_s: float
    whole_s: float
    prompt_tokens: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Load:
    """Requests that were made side by side.

    Attributes:
        first_s: to the first token, seconds, the median of the answers.
        whole_s: to the last token, likewise.
        tokens_per_s: written for all of them.
        requests_per_s: answered.
    """

    first_s: float
    whole_s: float
    tokens_per_s: float
    requests_per_s: float


class Asking:
    """Asks a side for chat completions."""

    def __init__(self, client: httpx.AsyncClient, model: str) -> None:
        self._client, self._model = client, model

    async def ask(self, side: Side, tokens: int = TOKENS) -> Answer:
        """One answer.

        Raises:
            UserError: the answer is an error.
        """
        asked = dict(side())
        body = {"model": self._model, "max_tokens": tokens, "temperature": 0.8, "stream": True}
        body |= {"stream_options": {"include_usage": True}}
        url, begun, first_s = str(asked.pop("url")), time.perf_counter(), 0.0
        usage = {"prompt_tokens": 0, "completion_tokens": 0}
        async with aconnect_sse(self._client, "POST", f"{url}/chat/completions", json=body | asked) as events:
            if events.response.is_error:
                raise UserError(f"{url}: {events.response.status_code} {(await events.response.aread()).decode()}")
            async for event in events.aiter_sse():
                if event.data == "[DONE]":
                    break
                chunk = json.loads(event.data)
                if not first_s and any(choice["delta"].get("content") for choice in chunk.get("choices", ())):
                    first_s = time.perf_counter() - begun
                usage = chunk.get("usage") or usage
        whole_s = time.perf_counter() - begun
        return Answer(first_s or whole_s, whole_s, usage["prompt_tokens"], usage["completion_tokens"])

    async def ask_whole(self, side: Side) -> Answer:
        """One answer that is not streamed; its first token comes with its last.

        Raises:
            UserError: the answer is an error.
        """
        asked = dict(side())
        url, begun = str(asked.pop("url")), time.perf_counter()
        body = {"model": self._model, "max_tokens": TOKENS, "temperature": 0.8}
        response = await self._client.post(f"{url}/chat/completions", json=body | asked)
        if response.is_error:
            raise UserError(f"{url}: {response.status_code} {response.text}")
        whole_s, usage = time.perf_counter() - begun, response.json()["usage"]
        return Answer(whole_s, whole_s, usage["prompt_tokens"], usage["completion_tokens"])

    async def load(self, side: Side, level: int, each: int, *, stream: bool) -> Load:
        """Ask `level` at a time, `each` one after the other."""
        begun = time.perf_counter()
        answers = [
            answer
            for some in await asyncio.gather(*(self._one_after_the_other(side, each, stream) for _ in range(level)))
            for answer in some
        ]
        took_s = time.perf_counter() - begun
        tokens = sum(answer.tokens for answer in answers)
        return Load(
            first_s=statistics.median(answer.first_s for answer in answers),
            whole_s=statistics.median(answer.whole_s for answer in answers),
            tokens_per_s=tokens / took_s,
            requests_per_s=len(answers) / took_s,
        )

    async def _one_after_the_other(self, side: Side, times: int, stream: bool) -> list[Answer]:
        return [await (self.ask(side) if stream else self.ask_whole(side)) for _ in range(times)]
