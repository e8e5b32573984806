import json
from dataclasses import replace
from functools import partial
from typing import Any

import httpx
import pytest

from generation.completions import CompletionRequest, Delta, Usage
from generation.engine import EngineClient
from generation.engine_connection import EngineConnection
from generation.engine_refusals import problem_of
from kit.problems import Problem

REQUEST = CompletionRequest(
    [{"role": "user", "content": "Write a post."}], n=3, max_tokens=8, temperature=0.8, min_p=0.0
)


def refusal(status: int, message: str = "no", param: str | None = None) -> httpx.Response:
    return httpx.Response(status, json={"error": {"message": message, "param": param, "code": status}})


@pytest.mark.parametrize(
    ("response", "status", "retry"),
    [
        (refusal(400, "maximum context length is 1024"), 422, False),
        (refusal(422), 422, False),
        (refusal(400, "hidden_size 8 does not match", "prompt_embeds"), 502, False),
        (refusal(401), 502, False),
        (refusal(404, "model not found"), 503, True),
        (refusal(429), 503, True),
        (refusal(500, "EngineDeadError"), 503, True),
        (httpx.Response(502, text="<html>bad gateway</html>"), 503, True),
        (httpx.Response(500, json={"error": "gone"}), 503, True),
        (httpx.Response(500, json=["odd"]), 503, True),
    ],
)
def test_a_refusal_of_the_engine_means_to_the_client(response: httpx.Response, status: int, retry: bool) -> None:
    answer = problem_of(response).response()
    assert answer.status_code == status
    assert ("retry-after" in answer.headers) == retry
    assert json.loads(bytes(answer.body))["detail"]


def test_the_reason_of_a_refusal_is_told_and_cut_short() -> None:
    assert "context length" in problem_of(refusal(400, "the context length is exceeded")).detail
    assert len(problem_of(refusal(400, "x" * 100_000)).detail) < 400


def chunk(index: int, text: str) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": {"content": text}}]}


async def streamed(
    monkeypatch: pytest.MonkeyPatch,
    *data: str,
    request: CompletionRequest = REQUEST,
    line_end: str = "\n",
    size: int = 5,
) -> list[Delta | Usage]:
    """What generation gets of a stream of events that arrives `size` bytes at a time."""
    events = "".join(f": ping{line_end * 2}data: {each}{line_end * 2}" for each in (*data, "[DONE]")).encode()

    async def parts() -> Any:
        for begin in range(0, len(events), size):
            yield events[begin : begin + size]

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"Content-Type": "text/event-stream; charset=utf-8"}, content=parts())

    client = partial(httpx.AsyncClient, transport=httpx.MockTransport(answer))
    monkeypatch.setattr(httpx, "AsyncClient", client)
    engine = EngineClient(EngineConnection("http://engine/v1", "slop", 1.0, 5.0, 1), 60.0)
    return [delta async for delta in engine.stream(request)]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("size", [1, 3, 1_000])
async def test_a_stream_may_arrive_in_parts_of_any_size_and_with_any_text(
    monkeypatch: pytest.MonkeyPatch, line_end: str, size: int
) -> None:
    # U+2028 and U+0085 end a line for Python, not in server-sent events, and JSON need not escape them.
    texts = ["été 🎉", "a\u2028b\x85c", "two\nlines"]
    data = [json.dumps(chunk(index, text), ensure_ascii=False) for index, text in enumerate(texts)]
    deltas = await streamed(monkeypatch, *data, line_end=line_end, size=size)
    assert deltas == [Delta(index, text) for index, text in enumerate(texts)]


ONE = replace(REQUEST, n=1)


async def test_a_stream_ends_each_text_with_its_reason_and_all_with_the_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    logprobs = {"content": [{"token": "Rain", "logprob": -0.5}]}
    data = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
        {"choices": [{"index": 0, "delta": {"content": "Rain"}, "logprobs": logprobs}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}], "usage": None},
        {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}},
    ]
    assert await streamed(monkeypatch, *map(json.dumps, data), request=ONE) == [
        Delta(0, "Rain", None, logprobs),
        Delta(0, "", "length"),
        Usage(prompt_tokens=9, completion_tokens=1),
    ]


async def test_an_engine_that_stops_within_a_stream_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    error = json.dumps({"error": {"message": "EngineDeadError", "code": 500}})
    with pytest.raises(Problem, match="EngineDeadError"):
        await streamed(monkeypatch, json.dumps(chunk(0, "a")), error)
