"""OpenAI's API as its own clients use it, before an engine that writes what the tests say."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from langchain_openai import ChatOpenAI
from pydantic import SecretStr
from redis import Redis

from slop.kafka.topics import POSTS, post_key
from slop.tensor_wire import torch_base64
from slop.v1.post_pb2 import Post
from tests.basis import profile_of, random_basis
from tests.collectors import read_all
from tests.engines import ScriptedEngine, scripted_engine
from tests.generations import client_of, generation_server, put_profile
from tests.waiting import eventually

BASIS = random_basis()
ADA = profile_of(BASIS, (1.5, -1.0, -0.5, -0.2))
EMBEDS = {"type": "prompt_embeds", "data": torch_base64(BASIS.prompts[0])}
TEXT = "Rain is new here."
ASK = [{"role": "user", "content": "Write about rain."}]


@dataclass(frozen=True)
class Served:
    """A service and its engine."""

    http: httpx.Client
    engine: ScriptedEngine
    url: str

    def chat(self, **more: Any) -> httpx.Response:
        return self.http.post("/v1/chat/completions", json={"model": "slop", "messages": ASK, **more})

    def asked(self) -> dict[str, Any]:
        """What the engine was asked for last."""
        return self.engine.bodies[-1]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, redis_url: str, kafka_bootstrap: str) -> Iterator[Served]:
    with scripted_engine() as engine:
        server, url = generation_server(
            tmp_path_factory.mktemp("openai"),
            BASIS,
            redis_url=redis_url,
            kafka_bootstrap=kafka_bootstrap,
            vllm_url=engine.url,
            control_share=0,
        )
        server.start()
        with client_of(url) as http:
            eventually(lambda: http.get("/readyz").is_success)
            yield Served(http, engine, f"{url}/v1")
        server.stop()


@pytest.fixture
def served(running: Served, redis_client: Redis) -> Iterator[Served]:
    put_profile(redis_client, BASIS, "ada", ADA)
    yield running
    had_failed = running.engine.refusal is not None or running.engine.breaks
    running.engine.refusal, running.engine.breaks = None, False
    if had_failed:
        eventually(lambda: running.chat().is_success)  # the engine is asked again only after a while


@pytest.fixture
def client(served: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=served.url, api_key="any", max_retries=0) as client:
        yield client


def error(response: httpx.Response, status: int, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.json().keys() == {"error"}
    said: dict[str, Any] = response.json()["error"]
    assert said.keys() == {"message", "type", "param", "code"}
    assert (said["param"], said["code"]) == (param, code), said
    assert said["message"]
    return said


def test_the_client_of_openai_gets_a_personal_answer(
    served: Served, client: openai.OpenAI, kafka_bootstrap: str
) -> None:
    answer = client.chat.completions.create(model="slop", user="ada", messages=ASK)
    assert answer.id.startswith("chatcmpl-")
    assert (answer.object, answer.model) == ("chat.completion", "slop")
    assert answer.system_fingerprint == f"fp_{BASIS.version}"
    [choice] = answer.choices
    assert (choice.index, choice.message.role, choice.message.content) == (0, "assistant", TEXT)
    assert (choice.finish_reason, choice.logprobs) == ("stop", None)
    assert answer.usage is not None
    assert answer.usage.model_dump(exclude_none=True) == {
        "prompt_tokens": 9,
        "completion_tokens": 4,
        "total_tokens": 13,
    }
    assert answer.model_extra is not None
    assert answer.model_extra["personalization"]["applied"]
    assert answer.model_extra["personalization"]["arm"] == "soft"
    assert answer.model_extra["warnings"] == []
    asked = served.asked()
    assert asked["messages"] == [{"role": "system", "content": [EMBEDS]}, *ASK]
    assert asked["max_tokens"] == 512
    post_id = (choice.model_extra or {})["post_id"]
    eventually(lambda: (TEXT, "ada", "soft") in published(kafka_bootstrap, post_id))


def published(kafka_bootstrap: str, post_id: str) -> list[tuple[str, str, str]]:
    """What was published of a post; other tests leave records in the topic that are none."""
    key = post_key("default", post_id)
    posts = [Post.FromString(record.value) for record in read_all(kafka_bootstrap, POSTS) if record.key == key]
    return [(post.text, post.for_user_id, post.arm) for post in posts]


def test_without_a_user_the_model_answers_as_it_would_alone(served: Served, kafka_bootstrap: str) -> None:
    answer = served.chat().json()
    assert served.asked()["messages"] == ASK
    assert (answer["personalization"]["applied"], answer["personalization"]["reason"]) == (False, "no_user")
    post_id = answer["choices"][0]["post_id"]
    eventually(lambda: (TEXT, "", "base") in published(kafka_bootstrap, post_id))


def test_the_callers_system_text_stands_before_the_soft_prompt_and_turns_stay_in_order(served: Served) -> None:
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "Hi."}, {"type": "text", "text": "Who are you?"}]},
        {"role": "assistant", "content": "Bob.", "refusal": None, "tool_calls": None},
        {"role": "user", "content": "Go on."},
    ]
    system = [{"role": "developer", "content": "You are Bob."}, {"role": "system", "content": "Be short."}]
    assert served.chat(user="ada", messages=[*system, *turns]).json()["warnings"] == []
    assert served.asked()["messages"] == [
        {"role": "system", "content": [{"type": "text", "text": "You are Bob.\n\nBe short."}, EMBEDS]},
        {"role": "user", "content": "Hi.\nWho are you?"},
        {"role": "assistant", "content": "Bob."},
        {"role": "user", "content": "Go on."},
    ]
    served.chat(messages=[*system, *turns])
    assert served.asked()["messages"][0] == {"role": "system", "content": "You are Bob.\n\nBe short."}


def test_generate_takes_a_system_text_too(served: Served) -> None:
    served.http.post("/v1/generate", json={"user_id": "ada", "system": "Be short."}).raise_for_status()
    assert served.asked()["messages"][0]["content"] == [{"type": "text", "text": "Be short."}, EMBEDS]
    served.http.post("/v1/generate", json={"user_id": "new", "system": "Be short."}).raise_for_status()
    assert served.asked()["messages"][0]["content"] == "Be short."


def test_parameters_of_drawing_reach_the_engine(served: Served) -> None:
    options = {
        "temperature": 0.3,
        "top_p": 0.9,
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "logit_bias": {"7": -100},
        "stop": ["\n", "."],
        "logprobs": True,
        "top_logprobs": 2,
    }
    answer = served.chat(max_completion_tokens=7, n=3, **options)
    assert answer.is_success, answer.text
    assert {name: served.asked()[name] for name in options} == options
    assert (served.asked()["max_tokens"], served.asked()["n"]) == (7, 3)
    choices = answer.json()["choices"]
    assert len({choice["post_id"] for choice in choices}) == 3
    assert choices[1]["logprobs"]["content"][0]["token"] == "Rain"
    served.chat(max_tokens=8)
    assert served.asked()["max_tokens"] == 8


def test_a_seed_is_not_handed_on_and_the_answer_says_so(served: Served, client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="slop", messages=ASK, seed=7, store=True, extra_body={"top_k": 5})
    assert not served.asked().keys() & {"seed", "store", "top_k"}
    assert [one["param"] for one in answer.model_extra["warnings"]] == ["seed", "store", "top_k"]
    assert "seed" in answer.model_extra["warnings"][0]["message"]


def test_a_stream_of_the_client_has_all_pieces_then_reasons_then_the_usage(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="slop",
        messages=ASK,
        user="ada",
        n=2,
        seed=1,
        logprobs=True,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert len({(chunk.id, chunk.created, chunk.model, chunk.system_fingerprint) for chunk in chunks}) == 1
    texts, roles, post_ids, tokens = ["", ""], [0, 0], dict[int, str](), 0
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            roles[choice.index] += choice.delta.role == "assistant"
            tokens += len((choice.logprobs and choice.logprobs.content) or ())
            if choice.finish_reason:
                post_ids[choice.index] = (choice.model_extra or {})["post_id"]
    assert (texts, roles, tokens) == ([TEXT] * 2, [1, 1], 8)
    assert len(set(post_ids.values())) == 2
    *before, last = chunks
    assert all(chunk.usage is None for chunk in before)
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.total_tokens == 17
    assert last.model_extra is not None
    assert last.model_extra["personalization"]["applied"]
    assert [one["param"] for one in last.model_extra["warnings"]] == ["seed"]


def test_a_stream_without_usage_ends_with_the_personalization_and_done(served: Served) -> None:
    response = served.chat(user="ada", stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    *_, last, done = [line for line in response.text.split("\n\n") if line.startswith("data: ")]
    assert done == "data: [DONE]"
    assert '"finish_reason":"stop"' in last
    assert '"personalization":{"applied":true' in last
    assert '"usage"' not in response.text


async def test_the_async_client_streams_and_lists_models(served: Served) -> None:
    async with openai.AsyncOpenAI(base_url=served.url, api_key="any") as client:
        assert [model.id async for model in client.models.list()] == ["slop"]
        assert (await client.models.retrieve("slop")).id == "slop"
        answer = await client.chat.completions.create(model="slop", messages=ASK)
        assert answer.choices[0].message.content == TEXT
        async with client.chat.completions.stream(model="slop", messages=ASK, user="ada") as stream:
            final = await stream.get_final_completion()
    assert final.choices[0].message.content == TEXT
    assert final.choices[0].finish_reason == "stop"


async def test_langchain_answers_streams_and_batches(served: Served) -> None:
    chat = ChatOpenAI(
        base_url=served.url, api_key=SecretStr("any"), model="slop", model_kwargs={"user": "ada"}, stream_usage=True
    )
    messages = [("system", "Be short."), ("human", "Write about rain.")]
    answer = chat.invoke(messages)
    assert answer.content == TEXT
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["total_tokens"] == 13
    assert served.asked()["messages"][0]["content"] == [{"type": "text", "text": "Be short."}, EMBEDS]
    pieces = list(chat.stream(messages))
    assert "".join(str(piece.content) for piece in pieces) == TEXT
    assert [piece.usage_metadata["total_tokens"] for piece in pieces if piece.usage_metadata] == [13]
    assert [one.content for one in await chat.abatch([messages, messages])] == [TEXT, TEXT]
    assert (await chat.ainvoke([*messages, answer, ("human", "Again.")])).content == TEXT
    assert [message["role"] for message in served.asked()["messages"]] == ["system", "user", "assistant", "user"]


def test_the_command_line_of_openai(served: Served) -> None:
    """Its client had a command line up to version 2.20, which the set-up keeps beside the present version."""
    former = Path(sys.prefix) / "openai-cli"
    assert former.is_dir(), "run `make setup`"
    env = {"PATH": os.environ["PATH"], "OPENAI_BASE_URL": served.url, "OPENAI_API_KEY": "any"}
    env |= {"PYTHONPATH": str(former)}

    def said(*arguments: str) -> str:
        command = [sys.executable, "-m", "openai", "api", *arguments]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    asking = ("chat.completions.create", "-m", "slop", "-g", "user", "Write about rain.")
    assert TEXT in said(*asking)
    assert TEXT in said(*asking, "--stream", "-M", "9", "-t", "0.5", "--stop", "!")
    assert '"slop"' in said("models.list")


REFUSED = [
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
    ({"functions": [{"name": "f"}]}, "functions"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"audio": {"voice": "alloy", "format": "mp3"}}, "audio"),
    ({"web_search_options": {}}, "web_search_options"),
]


@pytest.mark.parametrize(("more", "param"), REFUSED)
def test_what_would_make_the_answer_a_wrong_one_is_refused(served: Served, more: dict[str, Any], param: str) -> None:
    said = error(served.chat(**more), 400, param, "unsupported_parameter")
    assert said["type"] == "invalid_request_error"


def test_values_that_ask_for_nothing_special_are_taken(served: Served) -> None:
    nothing: dict[str, Any] = {
        "tools": [],
        "tool_choice": "none",
        "response_format": {"type": "text"},
        "modalities": ["text"],
        "audio": None,
        "n": None,
        "stop": None,
        "temperature": None,
    }
    answer = served.chat(**nothing)
    assert answer.is_success, answer.text
    assert answer.json()["warnings"] == []


IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
INVALID = [
    ({"messages": []}, "messages"),
    ({"messages": None}, "messages"),
    (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "See:"}, IMAGE]}]},
        "messages[0].content[1].type",
    ),
    ({"messages": [*ASK, {"role": "tool", "content": "4", "tool_call_id": "x"}]}, "messages[1].role"),
    ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [EMBEDS]}]}, "messages[0].content[0].type"),
    ({"user": ""}, "user"),
    ({"user": "a\nb"}, "user"),
    ({"n": 0}, "n"),
    ({"n": 17}, "n"),
    ({"temperature": 3}, "temperature"),
    ({"top_p": "1"}, "top_p"),
    ({"stop": ["a"] * 5}, "stop"),
    ({"stop": ""}, "stop"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"max_tokens": 3, "max_completion_tokens": 3}, "max_tokens"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"logit_bias": {"x": 1}}, "logit_bias"),
]


@pytest.mark.parametrize(("more", "param"), INVALID)
def test_the_parameter_that_is_not_valid_is_named(served: Served, more: dict[str, Any], param: str) -> None:
    said = error(served.chat(**more), 400, param)
    assert said["type"] == "invalid_request_error"


def test_a_tool_call_of_an_earlier_turn_is_refused_and_a_name_is_ignored(served: Served) -> None:
    call = {"role": "assistant", "content": "", "tool_calls": [{"id": "x", "type": "function"}]}
    error(served.chat(messages=[*ASK, call]), 400, "messages[1].tool_calls", "unsupported_parameter")
    named = served.chat(messages=[{"role": "user", "name": "Ada", "content": "Hi."}]).json()
    assert [one["param"] for one in named["warnings"]] == ["messages[0].name"]


def test_a_late_system_text_is_moved_to_the_beginning_and_that_is_said(served: Served) -> None:
    answer = served.chat(messages=[*ASK, {"role": "system", "content": "Be short."}]).json()
    assert [one["param"] for one in answer["warnings"]] == ["messages"]
    assert served.asked()["messages"] == [{"role": "system", "content": "Be short."}, *ASK]


def test_a_model_that_is_not_listed_is_not_found(served: Served, client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        client.chat.completions.create(model="gpt-5", messages=ASK)
    assert (raised.value.code, raised.value.param) == ("model_not_found", "model")
    error(served.http.get("/v1/models/gpt-5"), 404, "model", "model_not_found")


def test_whatever_answers_on_these_paths_errors_have_openais_shape(served: Served) -> None:
    http, path, json_type = served.http, "/v1/chat/completions", {"content-type": "application/json"}
    assert error(http.get(path), 405)["type"] == "invalid_request_error"
    assert http.get(path).headers["allow"] == "POST"
    error(http.post("/v1/models", json={}), 405)
    error(http.get(f"{path}/chatcmpl-1"), 404)
    error(http.post(path, content=b"{", headers=json_type), 400)
    error(http.post(path, content=b'["slop"]', headers=json_type), 400)
    error(http.post(path, data={"model": "slop"}), 415, code="not_json")
    error(served.chat(messages=[{"role": "user", "content": "x" * 600_000}]), 413, code="body_too_large")


def test_what_the_engine_refuses_and_fails_at(served: Served, client: openai.OpenAI) -> None:
    served.engine.refusal = 400, {"error": {"message": "maximum context length is 1024", "code": 400}}
    assert "context length" in error(served.chat(), 400, code="context_length_exceeded")["message"]
    served.engine.refusal = 500, {"error": {"message": "EngineDeadError", "code": 500}}
    for stream in (False, True):
        response = served.chat(stream=stream)
        assert error(response, 503)["type"] == "server_error"
        assert int(response.headers["retry-after"]) > 0
    with pytest.raises(openai.InternalServerError, match="EngineDeadError"):
        client.chat.completions.create(model="slop", messages=ASK)


def test_an_engine_that_fails_within_a_stream_raises_in_the_client(served: Served, client: openai.OpenAI) -> None:
    served.engine.breaks = True
    chunks = client.chat.completions.create(model="slop", messages=ASK, stream=True)
    assert next(chunks).choices[0].delta.content == "Rain"
    with pytest.raises(openai.APIError, match="EngineDeadError"):
        next(chunks)


def test_without_an_engine_clients_are_told_when_to_come_back(tmp_path_factory: pytest.TempPathFactory) -> None:
    server, url = generation_server(tmp_path_factory.mktemp("alone"), BASIS)
    server.start()
    with client_of(url) as http:
        for response in (
            http.post("/v1/chat/completions", json={"model": "slop", "messages": ASK}),
            http.get("/v1/models"),
        ):
            assert error(response, 503)["type"] == "server_error"
            assert int(response.headers["retry-after"]) > 0
    server.stop()


def test_the_api_describes_itself(served: Served) -> None:
    document = served.http.get("/openapi.json").json()
    answers = document["paths"]["/v1/chat/completions"]["post"]["responses"]
    assert re.fullmatch(r"200 400 404 408 413 415 (422 )?(429 )?502 503", " ".join(sorted(answers)))
    assert answers["200"]["content"].keys() == {"application/json", "text/event-stream"}
