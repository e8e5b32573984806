"""OpenAI's client before the real engine: what it asks for by OpenAI's parameters is what it gets, personal or not."""

import re
from collections.abc import Iterator

import httpx
import openai
import pytest
from redis import Redis

from slop.basis import Basis
from tests.basis import profile_of
from tests.generations import put_profile

GARDEN = re.compile(r"garden|tomato|plant|soil|grow|seed|flower|weed", re.I)
ASK = [{"role": "user", "content": "Write a short post."}]


@pytest.fixture
def client(service: httpx.Client, redis_client: Redis, basis: Basis) -> Iterator[openai.OpenAI]:
    put_profile(redis_client, basis, "ada", profile_of(basis, (2.0, -1.0, -1.0, -1.0)))
    with openai.OpenAI(base_url=f"{service.base_url}/v1", api_key="any", max_retries=0, timeout=120) as client:
        yield client


def test_a_soft_prompt_stands_after_the_callers_system_text(client: openai.OpenAI) -> None:
    system = {"role": "system", "content": "You are a friend of mine."}
    answers = {
        (user, bool(head)): client.chat.completions.create(
            model="slop", messages=[*head, *ASK], user=user, max_completion_tokens=16, n=2, temperature=0.7
        )
        for user in ("ada", "new")
        for head in ((), (system,))
    }
    for (user, _), answer in answers.items():
        assert answer.model_extra["personalization"]["applied"] == (user == "ada")
        assert 0 < answer.usage.completion_tokens <= 32
    garden = [bool(GARDEN.search(choice.message.content)) for choice in answers["ada", True].choices]
    assert any(garden), answers["ada", True]
    tokens = {key: answer.usage.prompt_tokens for key, answer in answers.items()}
    assert tokens["ada", True] > tokens["ada", False]
    assert tokens["ada", True] > tokens["new", True]


def test_the_system_text_is_followed_in_a_conversation(client: openai.OpenAI) -> None:
    messages = [
        {"role": "system", "content": "Answer with one word."},
        {"role": "user", "content": "What is the capital of Italy?"},
        {"role": "assistant", "content": "Rome"},
        {"role": "user", "content": [{"type": "text", "text": "What is the capital of France?"}]},
    ]
    answer = client.chat.completions.create(model="slop", messages=messages, temperature=0, max_tokens=8)
    assert "Paris" in answer.choices[0].message.content


def test_stop_logprobs_and_penalties_do_what_they_say(client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": "Count from one to ten: one, two, three, four,"}]
    drawn = {"model": "slop", "messages": messages, "temperature": 0, "max_tokens": 12}
    whole = client.chat.completions.create(**drawn, logprobs=True, top_logprobs=2).choices[0]
    tokens = whole.logprobs.content
    assert "".join(token.token for token in tokens).startswith(whole.message.content.strip()[:10])
    assert all(len(token.top_logprobs) >= 2 for token in tokens)
    assert len(tokens) > 3
    stop = whole.message.content.split()[2]
    stopped = client.chat.completions.create(**drawn, stop=[stop], top_p=0.9, seed=7).choices[0]
    assert stop not in stopped.message.content
    assert stopped.finish_reason == "stop"
    others = client.chat.completions.create(**drawn, frequency_penalty=2, presence_penalty=2, logit_bias={"28": -100})
    assert others.choices[0].message.content != whole.message.content


def test_a_stream_is_the_answer_in_pieces_with_its_usage(client: openai.OpenAI) -> None:
    asked = {"model": "slop", "messages": ASK, "user": "ada", "temperature": 0, "max_tokens": 10}
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    whole = client.chat.completions.create(**asked)
    assert len(chunks) > 5
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    assert chunks[-1].model_extra["personalization"] == whole.model_extra["personalization"]
