import json
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.completions import CompletionRequest
from generation.token_limit import TEMPLATE_TOKENS, TokenLimit, at_most_tokens
from kit.problems import Problem

URL = "http://engine/v1"


class Engine:
    """Counts a token for each character of a message, and 10 for the template; remembers what it was asked."""

    def __init__(self, limit: int | None = 100, counts: bool = True) -> None:
        self.limit, self.counts, self.asked = limit, counts, list[str]()
        transport = httpx.MockTransport(self._answer)
        self.tokens = TokenLimit(httpx.AsyncClient(transport=transport, base_url=f"{URL}/"), URL)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        if request.url.path == "/v1/models":
            more = {} if self.limit is None else {"max_model_len": self.limit}
            return httpx.Response(200, json={"data": [{"id": "other", "max_model_len": 5}, {"id": "slop"} | more]})
        if not self.counts:
            return httpx.Response(404)
        assert request.url.path == "/tokenize"
        messages = json.loads(request.content)["messages"]
        return httpx.Response(200, json={"count": 10 + sum(len(message["content"]) for message in messages)})


def request(*contents: Any, max_tokens: int = 8, soft_tokens: int = 0) -> CompletionRequest:
    messages = [{"role": "user", "content": content} for content in contents]
    return CompletionRequest(messages, 1, max_tokens, 0.8, 0.0, soft_tokens=soft_tokens)


async def test_a_short_request_is_not_counted() -> None:
    engine = Engine(limit=1_000)
    for _ in range(3):
        await engine.tokens.check(request("Write a short post."), "slop")
    assert engine.asked == ["/v1/models"]


async def test_a_long_one_that_fits_is_counted_and_let_through() -> None:
    engine = Engine()
    await engine.tokens.check(request("x" * 82), "slop")
    assert engine.asked == ["/v1/models", "/tokenize"]


@pytest.mark.parametrize(
    ("asked", "over"),
    [(request("x" * 83), 1), (request("x", max_tokens=100), 11), (request("x" * 80, soft_tokens=16), 14)],
)
async def test_one_that_does_not_fit_is_told_the_limit_and_how_far_over_it_is(
    asked: CompletionRequest, over: int
) -> None:
    with pytest.raises(Problem, match=f"{over} over the 100") as raised:
        await Engine().tokens.check(asked, "slop")
    assert raised.value.status == 422
    assert raised.value.members == {"code": "context_length_exceeded", "limit_tokens": 100, "over_tokens": over}


@pytest.mark.parametrize("engine", [Engine(limit=None), Engine(counts=False)])
async def test_an_engine_that_says_no_limit_or_does_not_count_is_left_to_refuse(engine: Engine) -> None:
    await engine.tokens.check(request("x" * 5_000), "slop")


async def test_an_engine_that_does_not_answer_is_asked_again() -> None:
    calls = list[str]()

    def away(asked: httpx.Request) -> httpx.Response:
        calls.append(asked.url.path)
        raise httpx.ConnectError("away")

    tokens = TokenLimit(httpx.AsyncClient(transport=httpx.MockTransport(away), base_url=f"{URL}/"), URL)
    for _ in range(2):
        await tokens.check(request("x"), "slop")
    assert len(calls) == 2


async def test_another_engine_is_asked_anew() -> None:
    engine = Engine(limit=1_000)
    await engine.tokens.check(request("x" * 500), "slop")
    engine.limit = 100
    engine.tokens.forget()
    with pytest.raises(Problem):
        await engine.tokens.check(request("x" * 500), "slop")


@given(st.lists(st.text(), min_size=1, max_size=3))
def test_no_request_has_more_tokens_than_bytes_and_what_the_template_adds(texts: list[str]) -> None:
    soft = [{"type": "text", "text": texts[0]}, {"type": "prompt_embeds", "data": "A" * 10_000}]
    most = at_most_tokens(request(soft, *texts[1:], soft_tokens=16))
    size = sum(len(text.encode("utf-8", "replace")) for text in texts)
    assert size + 16 + TEMPLATE_TOKENS < most <= 2 * size + 16 + TEMPLATE_TOKENS * (len(texts) + 1)


async def test_what_a_request_only_shows_makes_room_for_what_it_asks() -> None:
    texts = ["a" * 30, "b" * 10, "c" * 20, "d" * 10, "e" * 40]  # what is asked has 40, and 8 more are asked for

    async def fitted(limit: int, *before: str) -> list[str]:
        asked = replace(request(*before, *texts), shown=4)
        if before:
            asked = replace(asked, messages=[{**asked.messages[0], "role": "system"}, *asked.messages[1:]])
        return [message["content"] for message in (await Engine(limit).tokens.fitted(asked, "slop")).messages]

    assert await fitted(200) == texts
    assert await fitted(128) == texts
    assert await fitted(127) == texts[2:]
    assert await fitted(127, "s" * 9) == ["s" * 9, *texts[2:]]
    assert await fitted(60) == texts[4:]
    with pytest.raises(Problem, match="1 over the 57"):
        await fitted(57)


async def test_texts_of_a_length_that_nobody_asked_for_may_be_as_short_as_the_model_has_room_for() -> None:
    asked = replace(request("a" * 40), may_shorten=True)  # 50 tokens with the template, and 8 more

    async def max_tokens(limit: int) -> int:
        return (await Engine(limit).tokens.fitted(asked, "slop")).max_tokens

    assert [await max_tokens(limit) for limit in (58, 57, 51)] == [8, 7, 1]
    with pytest.raises(Problem, match="8 over"):
        await max_tokens(50)


async def test_an_answer_is_shortened_before_anything_that_a_request_shows_is_left_out() -> None:
    asked = replace(request("a" * 30, "b" * 10, "c" * 40, max_tokens=500), shown=2, may_shorten=True)
    for limit, messages, max_tokens in ((300, 3, 210), (218, 3, 128), (217, 1, 167), (60, 1, 10)):
        fitted = await Engine(limit).tokens.fitted(asked, "slop")
        assert (len(fitted.messages), fitted.max_tokens) == (messages, max_tokens)
