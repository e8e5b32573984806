"""Posts are chosen among candidates: a scripted engine writes, a real featurizer reads, and generation chooses."""

import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from httpx_sse import EventSource
from redis import Redis

from featurizer.api import FeatureRequests, features_router
from infra.local.ports import free_port
from kit.worker import health_server
from slop.arms import Arm, arm_of, soft_or_control
from slop.copies import WORDS_DIGEST_BYTES, KnownPosts
from slop.profiles import scores
from slop.redis.posts import PostRef, text_key
from slop.redis.profiles import User
from slop.redis.served import served_key
from tests.basis import profile_of, random_basis
from tests.engines import ScriptedEngine, scripted_engine
from tests.featurizers import AnsweringLane, Parts, parts_of
from tests.generations import client_of, generation_server, put_profile
from tests.samples import sample
from tests.servers import HOST
from tests.waiting import eventually

BASIS = random_basis()
OTHER = random_basis(seed=1)
READER = profile_of(BASIS, (1.5, -1.0, -1.0, -1.0))
CONTROL_SHARE: Final = 0.5
WEIGHTS = soft_or_control(CONTROL_SHARE)
ADA, BOB = (
    next(user for i in range(99) if arm_of("default", user := f"reader{i}", WEIGHTS) == arm)
    for arm in (Arm.SOFT, Arm.BASE)
)
NEW: Final = ("Rain", "Soup", "A star", "The goal", "Basil", "Snow", "Jam", "Ink")
TEXTS: Final = [f"{what} is new here today." for what in NEW]
KNOWN: Final = "The basil has forgiven me again."
READER_TOKENS: Final = 700


@dataclass
class Choosing:
    """Generation with a featurizer, whose lane a test may put another in the place of."""

    generation: httpx.Client
    engine: ScriptedEngine
    parts: Parts
    redis: Redis
    lane: AnsweringLane | None = None

    def generate(self, user_id: str = ADA, **more: Any) -> httpx.Response:
        """Ask for posts, of at most 20 tokens."""
        self.engine.bodies.clear()
        return self.generation.post("/v1/generate", json={"user_id": user_id, "max_tokens": 20} | more)

    def texts(self, **more: Any) -> list[str]:
        """Of the posts that are answered."""
        response = self.generate(**more)
        assert response.status_code == 200, response.text
        return [post["text"] for post in response.json()["posts"]]

    def written(self) -> list[int]:
        """How many texts the engine was asked for."""
        return [body["n"] for body in self.engine.bodies]

    def best(self, texts: Sequence[str]) -> list[str]:
        """Sorted, the reader's favourite first."""
        return sorted(texts, key=lambda text: -scores(READER, self.parts.encoder.row(text)[None], BASIS.blocks)[0])

    def stored(self) -> set[str]:
        """The keys of all posts that were published."""
        return {key.decode() for key in self.redis.scan_iter("slop:text:*")}

    def told(self, served: str) -> float:
        """How many requests were served so."""
        lines = self.generation.get("/metrics").text.splitlines()
        of = f'slop_chosen_requests_total{{served="{served}"}} '
        return next(float(line.removeprefix(of)) for line in lines if line.startswith(of))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Choosing]:
    with ExitStack() as stack:
        redis = stack.enter_context(Redis.from_url(redis_url))
        parts = stack.enter_context(parts_of(redis, BASIS))
        engine = stack.enter_context(scripted_engine())
        router = features_router(FeatureRequests(500, 1), lambda _: choosing.lane)
        port = stack.enter_context(health_server(HOST, 0, {}, router, requests=64))
        folder = tmp_path_factory.mktemp("generation")
        KnownPosts.of([KNOWN]).save(folder / "basis")
        server, url = generation_server(
            folder,
            BASIS,
            redis_url=redis_url,
            vllm_url=engine.url,
            featurizer_url=f"http://{HOST}:{port}",
            control_share=CONTROL_SHARE,
            generation_diversity=0,
            generation_choosing_timeout_s=10,
            generation_served_posts=8,
            generation_reader_tokens=READER_TOKENS,
        )
        stack.callback(server.stop)
        server.start()
        choosing = Choosing(stack.enter_context(client_of(url)), engine, parts, redis)
        yield choosing


@pytest.fixture
def choosing(running: Choosing, redis_client: Redis) -> Choosing:
    """Nobody was served anything yet."""
    del redis_client  # it has emptied Redis
    for user_id in (ADA, BOB):
        put_profile(running.redis, BASIS, user_id, READER)
    running.engine.candidates = list(TEXTS)
    running.lane = AnsweringLane(BASIS, running.parts.post_features)
    return running


def test_those_most_to_the_readers_taste_are_served_published_and_remembered_and_no_others(choosing: Choosing) -> None:
    before = choosing.told("best")
    response = choosing.generate(n=2, candidates=4)
    posts = {post["text"]: post["post_id"] for post in response.json()["posts"]}
    assert list(posts) == choosing.best(TEXTS)[:2]
    assert choosing.written() == [8]
    assert choosing.told("best") == before + 1
    assert choosing.stored() == {text_key(PostRef("default", post_id)) for post_id in posts.values()}
    assert choosing.redis.strlen(served_key(User("default", ADA))) == 2 * WORDS_DIGEST_BYTES


def test_in_a_stream_posts_that_were_chosen_come_whole(choosing: Choosing) -> None:
    sent = {"user_id": ADA, "max_tokens": 20, "n": 2, "candidates": 4, "stream": True}
    with choosing.generation.stream("POST", "/v1/generate", json=sent) as response:
        events = [(event.event, event.json()) for event in EventSource(response).iter_sse()]
    best = choosing.best(TEXTS)[:2]
    assert [data for name, data in events if name != "done"] == [{"post": at, "text": best[at]} for at in (0, 1)]
    name, answer = events[-1]
    assert (name, [post["text"] for post in answer["posts"]]) == ("done", best)


def test_without_candidates_in_the_control_without_a_profile_and_at_temperature_0_nothing_is_chosen(
    choosing: Choosing,
) -> None:
    before = choosing.told("best"), choosing.told("first")
    assert choosing.texts(n=2) == TEXTS[:2]
    assert choosing.written() == [2]
    assert choosing.texts(user_id=BOB, n=2, candidates=4) == TEXTS[:2]
    assert choosing.written() == [2]
    assert choosing.texts(n=2, candidates=4, temperature=0) == [TEXTS[0]] * 2
    stranger = next(user for i in range(99) if arm_of("default", user := f"new{i}", WEIGHTS) == Arm.SOFT)
    assert choosing.texts(user_id=stranger, n=2, candidates=4) == TEXTS[:2]
    assert choosing.written() == [2]
    assert (choosing.told("best"), choosing.told("first")) == before


def test_chats_are_answered_with_as_many_texts_as_openai_says(choosing: Choosing) -> None:
    choosing.engine.bodies.clear()
    chat = {"model": "slop", "user": ADA, "n": 2, "max_tokens": 20, "messages": [{"role": "user", "content": "Hi"}]}
    assert len(choosing.generation.post("/v1/chat/completions", json=chat).json()["choices"]) == 2
    assert choosing.written() == [2]


def test_near_copies_and_what_is_there_twice_are_chosen_last(choosing: Choosing) -> None:
    best, *others = choosing.best(TEXTS)
    choosing.engine.candidates = [KNOWN, best, "", best.upper(), best]
    assert choosing.texts(n=1, candidates=5) == [best]
    choosing.engine.candidates = [KNOWN, others[0], others[0]]
    assert choosing.texts(n=2, candidates=2) == [others[0], KNOWN]


def another_basis(choosing: Choosing) -> None:
    choosing.lane = AnsweringLane(OTHER, choosing.parts.post_features)


def no_basis(choosing: Choosing) -> None:
    choosing.lane = None


@pytest.mark.parametrize("spoil", [another_basis, no_basis])
def test_a_featurizer_that_is_of_no_use_has_the_first_posts_served(
    choosing: Choosing, spoil: Callable[[Choosing], None]
) -> None:
    spoil(choosing)
    before = choosing.told("first")
    choosing.engine.candidates = ["", *TEXTS]
    assert choosing.texts(n=2, candidates=4) == TEXTS[:2]
    assert choosing.told("first") == before + 1


@contextmanager
def hanging(choosing: Choosing) -> Iterator[threading.Event]:
    """The featurizer computes nothing until the block ends; what is given is set once it has begun."""
    begun, may_go_on, encoder = threading.Event(), threading.Event(), choosing.parts.encoder

    def hold(_: Sequence[str]) -> None:
        begun.set()
        assert may_go_on.wait(120)

    encoder.before = hold
    try:
        yield begun
    finally:
        encoder.before = lambda texts: None
        may_go_on.set()


def test_a_featurizer_that_hangs_has_the_first_posts_served_while_it_hangs(choosing: Choosing) -> None:
    before = choosing.told("first")
    with hanging(choosing):
        assert choosing.texts(n=2, candidates=4) == TEXTS[:2]
    assert choosing.told("first") == before + 1


def test_candidates_count_among_the_tokens_that_a_reader_may_have_in_flight(choosing: Choosing) -> None:
    with hanging(choosing) as begun, ThreadPoolExecutor(1) as pool:
        first = pool.submit(choosing.generate, n=2, candidates=4, max_tokens=50)
        assert begun.wait(60)
        refused = choosing.generate(n=2, candidates=4, max_tokens=50)
        assert (refused.status_code, "400 tokens" in refused.json()["detail"]) == (429, True)
        assert choosing.generate(n=2, candidates=1, max_tokens=50).status_code == 200
        assert first.result().status_code == 200


def test_when_the_caller_has_gone_its_candidates_are_read_no_further(choosing: Choosing) -> None:
    left = sample("slop_featurizer_asked_texts_total", outcome="left")
    sent = json.dumps({"user_id": ADA, "max_tokens": 20, "n": 2, "candidates": 4}).encode()
    head = f"POST /v1/generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(sent)}"
    url = choosing.generation.base_url
    with hanging(choosing) as begun:
        with socket.create_connection((url.host, url.port or 80)) as connection:
            connection.sendall(f"{head}\r\n\r\n".encode() + sent)
            assert begun.wait(60)
        eventually(lambda: "slop_http_requests_in_flight 0.0" in choosing.generation.get("/metrics").text)
    eventually(lambda: sample("slop_featurizer_asked_texts_total", outcome="left") > left)
    assert not choosing.stored()


def test_more_candidates_than_are_allowed_are_refused(choosing: Choosing) -> None:
    assert choosing.generate(n=16, candidates=3).status_code == 422
    assert choosing.generate(n=1, candidates=33).status_code == 422
    assert choosing.generate(n=1, candidates=0).status_code == 422


def test_the_setting_has_candidates_written_as_many_as_there_may_be(
    choosing: Choosing, redis_url: str, tmp_path: Path
) -> None:
    """The featurizer is away."""
    server, url = generation_server(
        tmp_path,
        BASIS,
        redis_url=redis_url,
        vllm_url=choosing.engine.url,
        featurizer_url=f"http://{HOST}:{free_port()}",
        control_share=0,
        generation_candidates=3,
    )
    server.start()
    with client_of(url) as client:
        for n, texts in ((1, 3), (16, 32)):
            choosing.engine.bodies.clear()
            response = client.post("/v1/generate", json={"user_id": ADA, "n": n})
            assert response.status_code == 200
            assert len(response.json()["posts"]) == n
            assert choosing.written() == [texts]
        choosing.engine.bodies.clear()
        assert len(client.get(f"/v1/users/{ADA}/feed", params={"n": 2}).json()["posts"]) == 2
        assert choosing.written() == [6]
    server.stop()
