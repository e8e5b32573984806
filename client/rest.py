"""A small typed client of the collector and of generation."""

import asyncio
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Self, TypeVar

import httpx

from client.errors import UserError
from client.texts import Sampling

T = TypeVar("T")

EVENTS_A_REQUEST: Final = 1_000
POSTS_A_REQUEST: Final = 100
RANKED_A_REQUEST: Final = 500
ATTEMPTS: Final = 8
LONGEST_PAUSE_S: Final = 10.0
CONCURRENCY: Final = 16
TIMEOUT_S: Final = 120.0
LINGERED_MS: Final = 60_000.0  # a dwell so long that it always says something
TRY_AGAIN: Final = frozenset({httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE})


class Rest:
    """JSON over HTTP to one base URL, at most `concurrency` requests at a time; 429 and 503 are tried again."""

    def __init__(self, base_url: str, concurrency: int = CONCURRENCY, timeout_s: float = TIMEOUT_S) -> None:
        # No timeout for a place in the pool: a request may have to wait for all those before it.
        limits = httpx.Limits(max_connections=concurrency)
        self._client = httpx.AsyncClient(base_url=base_url, limits=limits, timeout=httpx.Timeout(timeout_s, pool=None))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON that a call answers.

        Raises:
            UserError: no answer, or an error status after the last attempt.
        """
        response = await self._answer(method, path, body)
        return _json_of(response)

    async def get_or_none(self, path: str) -> Any:
        """What a GET answers, or None for 404.

        Raises:
            UserError: as `call`.
        """
        response = await self._answer("GET", path, None)
        return None if response.status_code == httpx.codes.NOT_FOUND else _json_of(response)

    async def _answer(self, method: str, path: str, body: Any) -> httpx.Response:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                response = await self._client.request(method, path, json=body)
            except httpx.HTTPError as error:
                raise UserError(f"no answer from {self._client.base_url}{path}: {error!r}; is it up?") from error
            if response.status_code not in TRY_AGAIN or attempt == ATTEMPTS:
                break
            await asyncio.sleep(_pause_s(response, attempt))
        return response


def _json_of(response: httpx.Response) -> Any:
    if response.is_error:
        request = response.request
        raise UserError(f"{request.method} {request.url} answered {response.status_code}: {response.text[:500]}")
    return response.json()


def _pause_s(response: httpx.Response, attempt: int) -> float:
    asked = response.headers.get("Retry-After", "")
    return min(LONGEST_PAUSE_S, float(asked) if asked.isdecimal() else 0.1 * 2**attempt)


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of up to `size` items in order."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


@dataclass(frozen=True, slots=True)
class Event:
    """One interaction as the collector takes it; `value` is milliseconds of a dwell, or a rating in [-1, 1]."""

    user_id: str
    post_id: str
    type: str
    value: float | None = None

    def as_json(self) -> dict[str, Any]:
        """With a fresh event id."""
        body = {"event_id": uuid.uuid4().hex, "user_id": self.user_id, "type": self.type, "post_id": self.post_id}
        return body if self.value is None else body | {"value": self.value}


class Collector:
    """The collector's API."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    async def send_events(self, events: Iterable[Event]) -> None:
        """Send events, one user's in order, and return when the broker has acknowledged all of them.

        Raises:
            UserError: one was rejected, or the collector does not answer.
        """
        for batch in batches((event.as_json() for event in events), EVENTS_A_REQUEST):
            await self._send("/v1/events", {"events": batch})

    async def send_posts(self, texts: dict[str, str]) -> None:
        """Register posts given as {post id: text}.

        Raises:
            UserError: one was rejected, or the collector does not answer.
        """
        posts = ({"post_id": post_id, "text": text} for post_id, text in texts.items())
        for batch in batches(posts, POSTS_A_REQUEST):
            await self._send("/v1/posts", {"posts": batch})

    async def _send(self, path: str, body: Any) -> None:
        answer = await self._rest.call("POST", path, body)
        rejected = [result for result in answer["results"] if result["status"] != "accepted"]
        if rejected:
            raise UserError(f"{path} rejected {len(rejected)}, the first: {rejected[0]}")


@dataclass(frozen=True, slots=True)
class Written:
    """Posts that generation wrote for a user, and the answer's facts on their personalization."""

    texts: list[str]
    applied: bool
    reason: str
    interactions: int


@dataclass(frozen=True, slots=True)
class ProfileInWords:
    """A profile as generation tells it: for every taste its share of the reader's posts, and its words."""

    interactions: int
    tastes: list[tuple[float, list[str]]]


class Generation:
    """Generation's API."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    async def write(self, user_id: str, posts: int, sampling: Sampling) -> Written:
        """Posts in a user's taste."""
        body = {"user_id": user_id, "n": posts, "temperature": sampling.temperature, "max_tokens": sampling.max_tokens}
        answer = await self._rest.call("POST", "/v1/generate", body)
        about = answer["personalization"]
        texts = [post["text"].strip() for post in answer["posts"]]
        return Written(texts, about["applied"], str(about["reason"]), about["interactions"])

    async def rank(self, user_id: str, post_ids: Sequence[str]) -> list[float | None]:
        """A score for every post; None for one whose features are not ready."""
        scores: list[float | None] = []
        for batch in batches(post_ids, RANKED_A_REQUEST):
            body = {"user_id": user_id, "posts": [{"post_id": post_id} for post_id in batch]}
            scores += (await self._rest.call("POST", "/v1/rank", body))["scores"]
        return scores

    async def profile(self, user_id: str) -> ProfileInWords:
        """A user's profile in words; an empty one for a user of whom nothing was learned yet."""
        answer = await self._rest.get_or_none(f"/v1/users/{user_id}/profile")
        if answer is None:
            return ProfileInWords(0, [])
        return ProfileInWords(answer["interactions"], [(t["share"], t["words"]) for t in answer["tastes"]])
