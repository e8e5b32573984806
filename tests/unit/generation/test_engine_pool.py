import json
from collections import Counter
from collections.abc import Callable
from functools import partial

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.completions import CompletionRequest, Delta
from generation.engine import EngineClient
from generation.engine_circuit import FAILURES
from generation.engine_connection import EngineConnection
from generation.engine_pool import EnginePool, rendezvous
from generation.engine_progress import NoToken
from kit.problems import Problem

Answer = Callable[[httpx.Request], httpx.Response]

names = st.lists(st.from_regex(r"[a-z]{1,8}:[0-9]{2,5}", fullmatch=True), min_size=1, max_size=6, unique=True)
readers = st.text(min_size=1, max_size=20)


@given(names, readers)
def test_a_reader_tries_every_engine_once_in_an_order_of_the_readers_own(engines: list[str], reader: str) -> None:
    order = rendezvous(reader, engines)
    assert sorted(order) == sorted(engines)
    assert rendezvous(reader, engines[::-1]) == order


@given(names, readers, st.data())
def test_an_engine_that_is_gone_moves_only_its_own_readers_and_each_to_the_next(
    engines: list[str], reader: str, data: st.DataObject
) -> None:
    gone = data.draw(st.sampled_from(engines))
    order = rendezvous(reader, engines)
    assert rendezvous(reader, [engine for engine in engines if engine != gone]) == [one for one in order if one != gone]


@given(names, readers)
def test_an_engine_that_is_added_takes_readers_from_the_others_and_moves_none_between_them(
    engines: list[str], reader: str
) -> None:
    first = rendezvous(reader, [*engines, "new:1"])[0]
    assert first in {"new:1", rendezvous(reader, engines)[0]}


def test_every_engine_has_its_share_of_the_readers() -> None:
    engines = [f"vllm-{number}:8000" for number in range(4)]
    counts = Counter(rendezvous(f"reader-{number}", engines)[0] for number in range(4_000))
    assert all(900 < counts[engine] < 1_100 for engine in engines)


def events(*documents: object) -> httpx.Response:
    data = [json.dumps(document) for document in documents]
    text = "".join(f"data: {one}\n\n" for one in (*data, "[DONE]"))
    return httpx.Response(200, content=text, headers={"content-type": "text/event-stream"})


def says(text: str) -> Answer:
    """Answers with a text, whole or streamed."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json={"data": [{"id": "slop"}]})
        if json.loads(request.content)["stream"]:
            return events({"choices": [{"index": 0, "delta": {"content": text}}]})
        return httpx.Response(200, json={"choices": [{"index": 0, "message": {"content": text}}]})

    return answer


def refuses(status: int, param: str | None = None) -> Answer:
    return lambda _: httpx.Response(status, json={"error": {"message": "no", "param": param, "code": status}})


def unreachable(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


def breaks(request: httpx.Request) -> httpx.Response:
    """A stream that ends with an error after its first piece."""
    del request
    return events({"choices": [{"index": 0, "delta": {"content": "begun"}}]}, {"error": {"message": "EngineDeadError"}})


def client(url: str) -> EngineClient:
    return EngineClient(EngineConnection(url, "slop", 1.0, 5.0, 4), 60.0)


class Engines:
    """Engines a and b; what each answers may change.

    Attributes:
        answers: by host.
        asked: the hosts that completions were asked of, in order.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        transport = httpx.MockTransport(self.answer)
        monkeypatch.setattr(httpx, "AsyncClient", partial(httpx.AsyncClient, transport=transport))
        self.answers: dict[str, Answer] = {"a": says("from a"), "b": says("from b")}
        self.asked = list[str]()
        self.pool = EnginePool([client(f"http://{host}/v1") for host in self.answers])

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self.asked.append(request.url.host)
        return self.answers[request.url.host](request)

    async def text(self, reader: str | None = "ada") -> str:
        return (await self.pool.complete(asked(reader))).texts[0].text


def asked(reader: str | None = "ada") -> CompletionRequest:
    messages = [{"role": "user", "content": "Write a post."}]
    return CompletionRequest(messages, n=1, max_tokens=8, temperature=0.0, min_p=0.0, reader=reader)


FIRST, SECOND = (name.partition(":")[0] for name in rendezvous("ada", ["a:80", "b:80"]))


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Engines:
    return Engines(monkeypatch)


async def test_a_reader_stays_on_one_engine(engines: Engines) -> None:
    assert [await engines.text() for _ in range(3)] == [f"from {FIRST}"] * 3
    assert engines.asked == [FIRST] * 3


@pytest.mark.parametrize(
    "failure", [unreachable, refuses(500), refuses(400, "prompt_embeds"), lambda _: httpx.Response(200, text="odd")]
)
async def test_a_request_that_an_engine_fails_goes_to_the_next(engines: Engines, failure: Answer) -> None:
    engines.answers[FIRST] = failure
    assert await engines.text() == f"from {SECOND}"
    assert [delta async for delta in engines.pool.stream(asked())] == [Delta(0, f"from {SECOND}")]


@pytest.mark.parametrize("status", [400, 401, 404, 422, 429])
async def test_what_is_the_requests_fault_is_not_tried_elsewhere(engines: Engines, status: int) -> None:
    engines.answers[FIRST] = refuses(status)
    for _ in range(FAILURES + 1):
        with pytest.raises(Problem):
            await engines.text()
    assert engines.asked == [FIRST] * (FAILURES + 1)


async def test_an_engine_that_can_not_be_reached_is_not_tried_again_until_it_writes(engines: Engines) -> None:
    engines.answers[FIRST] = unreachable
    assert [await engines.text() for _ in range(3)] == [f"from {SECOND}"] * 3
    assert engines.asked == [FIRST] + [SECOND] * 3


async def test_an_engine_that_fails_several_times_in_a_row_is_not_tried_again(engines: Engines) -> None:
    engines.answers[FIRST] = refuses(500)
    for _ in range(FAILURES + 2):
        assert await engines.text() == f"from {SECOND}"
    assert engines.asked.count(FIRST) == FAILURES


async def test_an_engine_of_another_model_is_not_used_while_there_is_another_engine(engines: Engines) -> None:
    engines.answers[FIRST] = refuses(400, "prompt_embeds")
    for _ in range(3):
        assert await engines.text() == f"from {SECOND}"
    assert engines.asked.count(FIRST) == 1


async def test_a_stream_that_has_begun_ends_with_the_problem(engines: Engines) -> None:
    engines.answers[FIRST] = breaks
    stream = engines.pool.stream(asked())
    assert await anext(stream) == Delta(0, "begun")
    with pytest.raises(Problem, match="EngineDeadError"):
        await anext(stream)
    assert engines.asked == [FIRST]


async def test_without_any_engine_clients_are_told_when_to_come_back(engines: Engines) -> None:
    engines.answers = dict.fromkeys(engines.answers, unreachable)
    for _ in range(2):
        with pytest.raises(Problem) as raised:
            await engines.text()
        assert raised.value.response().headers["retry-after"]
    assert sorted(engines.asked) == ["a", "b"]  # at the second time none is tried
    with pytest.raises(NoToken, match=r"a:80.*b:80|b:80.*a:80"):
        await engines.pool.check()


async def test_one_engine_that_writes_is_enough_to_be_ready(engines: Engines) -> None:
    engines.answers[FIRST] = unreachable
    await engines.text()
    await engines.pool.check()
    with pytest.raises(httpx.ConnectError):
        await engines.pool.check_engine(f"{FIRST}:80")


async def test_who_asks_for_nobody_is_answered_by_the_least_busy_engine(engines: Engines) -> None:
    stream = engines.pool.stream(asked())
    await anext(stream)
    assert await engines.text(None) == f"from {SECOND}"
    await stream.aclose()


def test_engines_of_the_same_host_and_port_are_not_told_apart() -> None:
    twice = [client(url) for url in ("http://a/v1", "http://a:80/v2")]
    with pytest.raises(ValueError, match="host and port"):
        EnginePool(twice)
