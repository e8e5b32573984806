import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from http import HTTPStatus

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import Response

from generation import streaming
from generation.streaming import EventStream, begun
from infra.local.ports import free_port
from infra.local.ready import http_answers
from kit.problems import Problem, install_problems
from tests.waiting import eventually

COMMENT_S = 0.2


class Source:
    """Events of which the first comes after `first_s` seconds and the second after another `second_s`."""

    def __init__(self) -> None:
        self.first_s = self.second_s = 0.0
        self.fails, self.ended = False, threading.Event()

    async def events(self) -> AsyncGenerator[str, None]:
        self.ended.clear()
        try:
            await asyncio.sleep(self.first_s)
            if self.fails:
                raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "no engine")
            yield "data: 1\n\n"
            await asyncio.sleep(self.second_s)
            yield "data: 2\n\n"
        finally:
            self.ended.set()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def url(source: Source, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(streaming, "COMMENT_EVERY_S", COMMENT_S)
    app = FastAPI()
    install_problems(app)

    @app.get("/")
    async def stream(http: Request) -> Response:
        return EventStream(await begun(http, source.events()))

    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    eventually(lambda: http_answers(f"http://127.0.0.1:{port}/openapi.json"))
    yield f"http://127.0.0.1:{port}/"
    server.should_exit = True
    thread.join(10)


def test_a_comment_comes_now_and_then_and_proxies_are_told_not_to_collect(source: Source, url: str) -> None:
    source.second_s = COMMENT_S * 3
    answer = httpx.get(url)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert (answer.headers["x-accel-buffering"], answer.headers["cache-control"]) == ("no", "no-store")
    assert answer.text.replace(": still here\n\n", "") == "data: 1\n\ndata: 2\n\n"
    assert answer.text.count(": still here\n\n") >= 2


def test_a_stream_whose_first_event_is_late_begins_with_comments(source: Source, url: str) -> None:
    source.first_s = COMMENT_S * 10
    text = httpx.get(url).text
    assert text.startswith(": still here\n\n: still here\n\n")
    assert text.endswith("data: 1\n\ndata: 2\n\n")


@pytest.mark.parametrize("first_s", [0, COMMENT_S / 2])
def test_a_failure_before_the_first_event_has_a_status_of_its_own(source: Source, url: str, first_s: float) -> None:
    source.fails, source.first_s = True, first_s
    assert httpx.get(url).status_code == 503


@pytest.mark.parametrize(("first_s", "second_s"), [(60, 0), (0, 60), (COMMENT_S / 2, 60)])
def test_the_source_ends_as_soon_as_the_caller_has_gone(
    source: Source, url: str, first_s: float, second_s: float
) -> None:
    source.first_s, source.second_s = first_s, second_s
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(url, timeout=COMMENT_S * 0.9)
    gone = time.monotonic()
    assert source.ended.wait(5)
    assert time.monotonic() - gone < 2
