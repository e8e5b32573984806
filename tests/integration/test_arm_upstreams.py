"""Generation with arms whose posts are written from liked posts, in words, and by an upstream of their own."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any, Final

import httpx
import numpy as np
import pytest
from redis import Redis

from slop.arms import Arm, arm_of
from slop.recent import Recent
from slop.redis.crowd import write_crowd
from slop.redis.posts import PostRef, Posts, PostText, SentText
from slop.redis.profiles import recent_key
from slop.tensor_wire import torch_base64
from tests.basis import profile_of, random_basis
from tests.generations import client_of, generation_server, put_profile
from tests.servers import HOST
from tests.waiting import eventually

BASIS = random_basis()
WEIGHTS: Final = dict.fromkeys(Arm, 1.0)
READERS: Final = {
    arm: next(name for name in map("reader-{}".format, count()) if arm_of("default", name, WEIGHTS) == arm)
    for arm in Arm
}
TIMEOUT_S: Final = 2
SECRET: Final = "sk-quite-secret"


@dataclass
class Server:
    """An OpenAI API in this process.

    Attributes:
        answer: the status and the body of completions.
        hangs: while it is set, completions do not come.
        asked: the bodies of completions that were asked for, without those for a single token.
        keys: that came with them.
    """

    answer: tuple[int, bytes] | None = None
    hangs: threading.Event = field(default_factory=threading.Event)
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    url: str = ""

    def completion(self, body: dict[str, Any], key: str | None) -> tuple[int, bytes]:
        """What a completion is answered with."""
        if 1 not in (body.get("max_tokens"), body.get("max_completion_tokens")):
            self.asked.append(body)
            self.keys.append(key)
        choices = [{"index": at, "message": {"content": f"Post {at}."}} for at in range(body["n"])]
        return self.answer or (200, json.dumps({"choices": choices}).encode())


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(200, b'{"data": [{"id": "some-model"}]}')

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = server.completion(body, self.headers["Authorization"])
            while server.hangs.is_set():
                threading.Event().wait(0.02)
            self._send(*answer)

        def _send(self, status: int, body: bytes) -> None:
            try:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                self.close_connection = True  # the caller has gone

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer((HOST, 0), Handler) as http:
        server.url = f"http://{HOST}:{http.server_port}/v1"
        thread = Thread(target=http.serve_forever)
        thread.start()
        yield server
        server.hangs.clear()
        http.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def engine() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def upstream() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str, kafka_bootstrap: str, engine: Server, upstream: Server
) -> Iterator[httpx.Client]:
    of_persona = {
        "url": upstream.url,
        "model": "gpt-5",
        "key": SECRET,
        "max_tokens_name": "max_completion_tokens",
        "leave_out": ["temperature"],
        "more": {"reasoning_effort": "minimal"},
    }
    folder = tmp_path_factory.mktemp("arms")
    server, url = generation_server(
        folder,
        BASIS,
        redis_url=redis_url,
        kafka_bootstrap=kafka_bootstrap,
        vllm_url=engine.url,
        arm_weights=json.dumps(WEIGHTS),
        arm_upstreams=json.dumps({"persona": of_persona}),
        engine_timeout_s=TIMEOUT_S,
        generation_max_concurrency=2,
        generation_max_wait_s=0.2,
        generation_rewrites=0,
    )
    server.start()
    with client_of(url) as client:
        eventually(lambda: client.get("/readyz").status_code == 200)
        yield client
    server.stop()
    assert SECRET not in server.log.read_text()


@pytest.fixture
def known(redis_client: Redis, engine: Server, upstream: Server) -> Iterator[Redis]:
    """Redis with what all readers have done; the servers write again afterwards."""
    for user_id in READERS.values():
        put_profile(redis_client, BASIS, user_id, profile_of(BASIS, (0, 2, -1, -1)))
        recent = Recent(len(BASIS.blocks), liked=("gone", *(f"p{number}" for number in range(8))))
        redis_client.set(recent_key(BASIS.version, "default", user_id), recent.to_bytes())
    texts = {PostRef("default", f"p{number}"): f"Liked {number}." for number in range(8)}
    Posts(redis_client, BASIS).put_texts([(ref, SentText(PostText(text))) for ref, text in texts.items()])
    write_crowd(redis_client, BASIS.version, "default", np.array([0.0, 0.0, 1.0, 0.0]))
    for server in (engine, upstream):
        server.asked.clear()
        server.keys.clear()
        server.answer = None
    yield redis_client
    for server in (engine, upstream):
        server.answer = None
        server.hangs.clear()


def generate(service: httpx.Client, arm: Arm, **more: Any) -> httpx.Response:
    return service.post("/v1/generate", json={"user_id": READERS[arm], "max_tokens": 9, **more})


def answered(service: httpx.Client, arm: Arm, **more: Any) -> dict[str, Any]:
    response = generate(service, arm, **more)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    assert answer["personalization"]["arm"] == arm
    assert all(post["text"] for post in answer["posts"])
    return answer["personalization"]


def soft(prompt: int) -> list[dict[str, str]]:
    return [{"type": "prompt_embeds", "data": torch_base64(BASIS.prompts[prompt])}]


@pytest.mark.parametrize(
    ("arm", "reason"),
    [
        (Arm.SOFT, "personalized"),
        (Arm.CROWD, "crowd"),
        (Arm.BASE, "control"),
        (Arm.HISTORY, "personalized"),
        (Arm.PERSONA, "personalized"),
    ],
)
def test_every_arm_writes_in_its_way(
    service: httpx.Client, known: Redis, engine: Server, upstream: Server, arm: Arm, reason: str
) -> None:
    about = answered(service, arm)
    assert (about["reason"], about["applied"]) == (reason, reason == "personalized")
    [asked] = engine.asked + upstream.asked
    assert bool(upstream.asked) == (arm is Arm.PERSONA)
    system, *turns = asked["messages"]
    words = ", ".join(BASIS.words[1][:4])
    plain = BASIS.template.plain_system
    expected = {Arm.SOFT: soft(1), Arm.CROWD: soft(2), Arm.PERSONA: f"{plain}\nThe reader likes: {words}."}
    assert system["content"] == expected.get(arm, plain)
    shown = [turn["content"] for turn in turns if turn["role"] == "assistant"]
    assert shown == ([f"Liked {number}." for number in range(2, 8)] if arm is Arm.HISTORY else [])
    assert turns[-1] == {"role": "user", "content": BASIS.template.request}


def test_an_upstream_is_asked_by_its_own_name_and_key_and_in_its_own_words(
    service: httpx.Client, known: Redis, upstream: Server
) -> None:
    answered(service, Arm.PERSONA, n=2)
    [asked] = upstream.asked
    assert upstream.keys == [f"Bearer {SECRET}"]
    names = {"model", "messages", "n", "max_completion_tokens", "stream", "reasoning_effort"}
    assert (asked.keys(), asked["model"], asked["max_completion_tokens"]) == (names, "gpt-5", 9)
    assert SECRET not in service.get("/openapi.json").text + service.get("/metrics").text


NONSENSE: Final = {
    "no_json": (200, b"<html>", 502),
    "no_choices": (200, b'{"choices": []}', 502),
    "no_object": (200, b"[1]", 502),
    "wrong_types": (200, b'{"choices": [{"index": 0, "message": 3}]}', 502),
    "no_key": (401, b'{"error": {"message": "no"}}', 502),
    "broken": (500, b"oops", 503),
    "too_many": (429, b'{"error": {"message": "slower"}}', 503),
}


@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_of_an_upstream_is_told_and_concerns_its_arm_alone(
    service: httpx.Client, known: Redis, upstream: Server, answer: tuple[int, bytes, int]
) -> None:
    *upstream_says, status = answer
    upstream.answer = (int(upstream_says[0]), bytes(upstream_says[1]))  # type: ignore[call-overload]
    response = generate(service, Arm.PERSONA)
    assert response.status_code == status, response.text
    assert "upstream of the arm persona" in response.json()["detail"]
    assert answered(service, Arm.SOFT)["applied"]
    upstream.answer = None
    answered(service, Arm.PERSONA)


def test_an_upstream_that_hangs_ends_its_requests_and_takes_no_turn_of_others(
    service: httpx.Client, known: Redis, upstream: Server
) -> None:
    upstream.hangs.set()
    statuses: list[int] = []
    threads = [Thread(target=lambda: statuses.append(generate(service, Arm.PERSONA).status_code)) for _ in range(6)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(upstream.asked) == 2)
    for arm in (Arm.SOFT, Arm.BASE, Arm.HISTORY, Arm.CROWD):
        answered(service, arm)
    assert service.get("/readyz").status_code == 200
    for thread in threads:
        thread.join(20)
    assert statuses == [503] * 6
    upstream.hangs.clear()
    answered(service, Arm.PERSONA)


def test_who_liked_nothing_gets_plain_posts_and_is_told_why(service: httpx.Client, known: Redis) -> None:
    known.delete(recent_key(BASIS.version, "default", READERS[Arm.HISTORY]))
    about = answered(service, Arm.HISTORY)
    assert (about["reason"], about["applied"]) == ("no_likes", False)
    known.set(recent_key(BASIS.version, "default", READERS[Arm.HISTORY]), b"\x09 broken")
    assert answered(service, Arm.HISTORY)["reason"] == "no_likes"


def test_the_arms_of_readers_are_ranked_by_their_profile_and_the_crowds_by_the_prior(
    service: httpx.Client, known: Redis
) -> None:
    reasons = {
        arm: service.post("/v1/rank", json={"user_id": READERS[arm], "posts": [{"post_id": "none"}]}).json()
        for arm in Arm
    }
    assert {arm: answer["personalization"]["reason"] for arm, answer in reasons.items()} == {
        Arm.SOFT: "personalized",
        Arm.CROWD: "crowd",
        Arm.BASE: "control",
        Arm.HISTORY: "personalized",
        Arm.PERSONA: "personalized",
    }


@pytest.mark.parametrize(("weights", "ready"), [({"persona": 1, "base": 0}, 503), ({"persona": 1, "base": 1}, 200)])
def test_readiness_depends_on_an_upstream_only_if_all_readers_do(
    tmp_path: Path,
    redis_client: Redis,
    redis_url: str,
    kafka_bootstrap: str,
    engine: Server,
    weights: dict[str, float],
    ready: int,
) -> None:
    del redis_client
    with serving() as gone:
        url_of_gone = gone.url
    server, url = generation_server(
        tmp_path,
        BASIS,
        redis_url=redis_url,
        kafka_bootstrap=kafka_bootstrap,
        vllm_url=engine.url,
        arm_weights=json.dumps(weights),
        arm_upstreams=json.dumps({"persona": {"url": url_of_gone}}),
    )
    server.start()
    with client_of(url) as client:
        eventually(lambda: client.get("/readyz").json()["checks"]["engine"] == "ok")
        response = client.get("/readyz")
        assert (response.status_code, response.json()["checks"]["upstream of persona"] == "ok") == (ready, False)
    server.stop()


def test_an_upstream_for_soft_prompts_ends_the_process_with_the_reason_and_without_the_key(tmp_path: Path) -> None:
    server, _ = generation_server(
        tmp_path, BASIS, arm_upstreams=json.dumps({"crowd": {"url": "http://elsewhere/v1", "key": SECRET}})
    )
    with pytest.raises(RuntimeError, match="the arm crowd writes under soft prompts, which only the engine takes"):
        server.start()
    assert SECRET not in server.log.read_text()
