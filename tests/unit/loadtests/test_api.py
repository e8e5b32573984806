"""How answers go into the statistics: served, refused as documented, or failed."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from locust import User
from locust.env import Environment

from client.rest import Event
from infra.local.ports import free_port
from loadtests.api import AFTER_FAILURE_S, Api, NotServed
from loadtests.facts import Work
from loadtests.outcome import Call, LoadOutcome, calls_of, table_of
from loadtests.tracker import Tracker

Answer = tuple[int, dict[str, str], bytes]
TAKEN: Answer = (202, {}, b'{"results": [{"event_id": "e", "status": "accepted"}]}')
REJECTED: Answer = (202, {}, b'{"results": [{"event_id": "e", "status": "rejected", "error": "invalid_type: no"}]}')


class _Handler(BaseHTTPRequestHandler):
    answers: list[Answer]
    asked: list[Any]

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.asked.append(json.loads(body) if body else None)
        status, headers, content = self.answers.pop(0)
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _answer  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[type[_Handler], str]]:
    handler = type("Handler", (_Handler,), {"answers": [], "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        thread = Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield handler, f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


@pytest.fixture
def environment() -> Environment:
    environment = Environment(user_classes=[User])
    environment.create_local_runner()  # which counts requests
    return environment


def api_of(environment: Environment, url: str) -> Api:
    return Api(User(environment), url, 5.0)


def only_call(environment: Environment) -> Call:
    (call,) = calls_of(environment.stats, 10.0)
    return call


def outcome_of(environment: Environment) -> LoadOutcome:
    return LoadOutcome("readers", 1, 10.0, calls_of(environment.stats, 10.0), [], Work(None, None, None, None))


def test_a_refusal_with_retry_after_is_counted_apart_and_says_when_to_come_again(
    environment: Environment, server: tuple[type[_Handler], str]
) -> None:
    handler, url = server
    handler.answers += [(503, {"Retry-After": "7"}, b"{}"), (429, {"Retry-After": "1"}, b"{}"), TAKEN]
    api = api_of(environment, url)
    for pause_s in (7.0, 1.0):
        with pytest.raises(NotServed) as refused:
            api.post("/v1/events", {})
        assert refused.value.pause_s == pause_s
    api.post("/v1/events", {})
    call = only_call(environment)
    assert (call.name, call.requests, call.failures) == ("POST /v1/events", 3, 0)
    assert call.refusals == {"503": 1, "429": 1}
    assert outcome_of(environment).passed


@pytest.mark.parametrize(
    "answer", [(503, {}, b"{}"), (500, {"Retry-After": "1"}, b"{}"), (422, {}, b"{}"), (202, {}, b"no JSON"), REJECTED]
)
def test_everything_else_that_was_not_served_is_a_failure(
    environment: Environment, server: tuple[type[_Handler], str], answer: Answer
) -> None:
    handler, url = server
    handler.answers += [answer]
    tracker = Tracker(api_of(environment, url))
    tracker.add([Event("u", "p", "like")])
    with pytest.raises(NotServed):
        tracker.send()
    call = only_call(environment)
    assert (call.requests, call.failures, call.refusals) == (1, 1, {})
    assert not outcome_of(environment).passed


def test_a_service_that_is_not_there_is_a_failure(environment: Environment) -> None:
    with pytest.raises(NotServed) as failed:
        api_of(environment, f"http://127.0.0.1:{free_port()}").post("/v1/events", {})
    assert failed.value.pause_s == AFTER_FAILURE_S
    assert only_call(environment).failures == 1


def test_a_run_in_which_nothing_was_served_does_not_pass(
    environment: Environment, server: tuple[type[_Handler], str]
) -> None:
    handler, url = server
    handler.answers += [(503, {"Retry-After": "1"}, b"{}")]
    with pytest.raises(NotServed):
        api_of(environment, url).post("/v1/events", {})
    outcome = outcome_of(environment)
    assert (outcome.failures, outcome.passed) == (0, False)
    assert table_of(outcome).row_count == 1


def test_a_profile_that_is_not_there_yet_is_fine(environment: Environment, server: tuple[type[_Handler], str]) -> None:
    handler, url = server
    handler.answers += [(404, {}, b"{}")]
    assert api_of(environment, url).get("/v1/users/u/profile", "/v1/users/{id}/profile", missing_is_fine=True) is None
    assert (only_call(environment).name, only_call(environment).failures) == ("GET /v1/users/{id}/profile", 0)


def test_refused_events_are_sent_again_in_order_with_the_same_ids(
    environment: Environment, server: tuple[type[_Handler], str]
) -> None:
    handler, url = server
    handler.answers += [(503, {"Retry-After": "1"}, b"{}"), TAKEN]
    tracker = Tracker(api_of(environment, url))
    tracker.add([Event("u", "p1", "like")])
    with pytest.raises(NotServed):
        tracker.send()
    tracker.add([Event("u", "p2", "skip")])
    tracker.send()
    tracker.send()
    first, second = handler.asked
    assert second["events"][0] == first["events"][0]
    assert [event["post_id"] for event in second["events"]] == ["p1", "p2"]
