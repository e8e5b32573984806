"""The client's manners: it tries again when asked to, and says what went wrong."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from client.errors import UserError
from client.rest import Collector, Event, Generation, Rest, batches
from client.texts import Sampling


class _Handler(BaseHTTPRequestHandler):
    answers: list[tuple[int, dict[str, str], Any]]
    asked: list[Any]

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.asked.append(json.loads(body) if body else None)
        status, headers, content = self.answers.pop(0)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        data = json.dumps(content).encode()
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = _answer  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def handler() -> type[_Handler]:
    return type("Handler", (_Handler,), {"answers": [], "asked": []})


@pytest.fixture
def url(handler: type[_Handler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def test_a_busy_server_is_asked_again(url: str, handler: type[_Handler]) -> None:
    handler.answers += [
        (503, {"Retry-After": "0"}, {}),
        (429, {"Retry-After": "0"}, {}),
        (200, {}, {"scores": [1.0, None]}),
    ]
    async with Rest(url) as rest:
        assert await Generation(rest).rank("u", ["a", "b"]) == [1.0, None]
    assert handler.asked == [{"user_id": "u", "posts": [{"post_id": "a"}, {"post_id": "b"}]}] * 3


async def test_an_error_is_told_with_what_the_server_said(url: str, handler: type[_Handler]) -> None:
    handler.answers += [(422, {}, {"detail": "the value is out of range"})]
    async with Rest(url) as rest:
        with pytest.raises(UserError, match=r"422.*the value is out of range"):
            await rest.call("POST", "/v1/events", {})


async def test_a_server_that_is_not_there_is_told(url: str) -> None:
    async with Rest("http://127.0.0.1:9") as rest:
        with pytest.raises(UserError, match="is it up"):
            await rest.call("GET", "/v1/models")


async def test_a_rejected_event_is_an_error_and_never_lost_silently(url: str, handler: type[_Handler]) -> None:
    handler.answers += [(202, {}, {"results": [{"event_id": "e", "status": "rejected", "error": "invalid_type"}]})]
    async with Rest(url) as rest:
        with pytest.raises(UserError, match="invalid_type"):
            await Collector(rest).send_events([Event("u", "p", "like")])


async def test_events_go_in_batches_with_ids_of_their_own_and_no_labels(url: str, handler: type[_Handler]) -> None:
    handler.answers += [(202, {}, {"results": []})] * 2
    async with Rest(url) as rest:
        await Collector(rest).send_events(Event("u", f"p{i}", "dwell", 900.0) for i in range(1_200))
    sent = [event for body in handler.asked for event in body["events"]]
    assert [len(body["events"]) for body in handler.asked] == [1_000, 200]
    assert [event["post_id"] for event in sent] == [f"p{i}" for i in range(1_200)]
    assert len({event["event_id"] for event in sent}) == 1_200
    assert set(sent[0]) == {"event_id", "user_id", "type", "post_id", "value"}


async def test_an_unknown_reader_has_an_empty_profile(url: str, handler: type[_Handler]) -> None:
    handler.answers += [(404, {}, {"detail": "nobody"})]
    async with Rest(url) as rest:
        profile = await Generation(rest).profile("u")
    assert (profile.interactions, profile.tastes) == (0, [])


async def test_every_arm_is_asked_with_the_same_sampling(url: str, handler: type[_Handler]) -> None:
    about = {"applied": True, "reason": "personalized", "interactions": 4, "basis": "b", "arm": "soft"}
    handler.answers += [(200, {}, {"posts": [{"post_id": "p", "text": " hello\n"}], "personalization": about})]
    async with Rest(url) as rest:
        written = await Generation(rest).write("u", 1, Sampling(0.8, 48, 0.05))
    assert handler.asked == [{"user_id": "u", "n": 1, "temperature": 0.8, "max_tokens": 48}]
    assert (written.texts, written.interactions) == (["hello"], 4)


def test_batches_keep_the_order_and_lose_nothing() -> None:
    assert list(batches(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
