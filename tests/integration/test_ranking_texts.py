"""Ranking posts whose features are not in Redis: generation asks a featurizer, both as they are."""

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import httpx
import numpy as np
import pytest
from redis import Redis

from featurizer.api import FeatureRequests, features_router
from kit.worker import health_server
from slop.profiles import scores
from tests.basis import profile_of, random_basis
from tests.featurizers import POISON, AnsweringLane, Parts, parts_of, ref
from tests.generations import client_of, generation_server, put_profile
from tests.samples import sample
from tests.servers import HOST
from tests.waiting import eventually

BASIS = random_basis()
ADA = profile_of(BASIS, (1.5, -1.0, 0.5, -0.2))
MOST_TEXTS = 2_000


@dataclass(frozen=True)
class Both:
    """Generation, and the parts of the featurizer that it asks."""

    generation: httpx.Client
    parts: Parts
    redis: Redis

    def rank(self, *posts: dict[str, str]) -> httpx.Response:
        """Ask generation for ada."""
        return self.generation.post("/v1/rank", json={"user_id": "ada", "posts": posts})

    def score(self, text: str) -> float:
        """Of a text, for ada."""
        return float(scores(ADA, self.parts.encoder.row(text)[None], BASIS.blocks)[0])


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Both]:
    with ExitStack() as stack:
        redis = stack.enter_context(Redis.from_url(redis_url))
        redis.flushall()
        parts = stack.enter_context(parts_of(redis, BASIS))
        router = features_router(FeatureRequests(MOST_TEXTS, 1), lambda _: AnsweringLane(BASIS, parts.post_features))
        port = stack.enter_context(health_server(HOST, 0, {}, router, requests=512))
        folder = tmp_path_factory.mktemp("generation")
        server, url = generation_server(
            folder,
            BASIS,
            redis_url=redis_url,
            featurizer_url=f"http://{HOST}:{port}",
            generation_features_timeout_s=110,
        )
        stack.callback(server.stop)
        server.start()
        put_profile(redis, BASIS, "ada", ADA)
        yield Both(stack.enter_context(client_of(url)), parts, redis)


def test_five_hundred_texts_are_ranked_in_the_order_given(both: Both) -> None:
    texts = [f"text {number}" for number in range(500)]
    answer = both.rank(*({"text": text} for text in texts))
    assert answer.status_code == 200, answer.text
    assert answer.json()["scores"] == pytest.approx([both.score(text) for text in texts], abs=1e-5)


def test_a_known_post_without_features_is_ranked_by_its_text_and_has_them_then(both: Both) -> None:
    both.parts.publish(p1="we cook soup")
    answer = both.rank({"post_id": "p1"}, {"post_id": "never seen"}, {"text": "a star"})
    expected = [
        pytest.approx(both.score("we cook soup"), abs=1e-5),
        None,
        pytest.approx(both.score("a star"), abs=1e-5),
    ]
    assert answer.json()["scores"] == expected
    found = both.parts.posts.find([ref("p1")])[ref("p1")].text_features
    assert np.array_equal(found, both.parts.encoder.row("we cook soup"))  # type: ignore[arg-type]


def test_a_text_that_can_not_be_encoded_has_no_score_and_the_others_have(both: Both) -> None:
    answer = both.rank({"text": POISON}, {"text": "a star"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["scores"] == [None, pytest.approx(both.score("a star"), abs=1e-5)]


def test_what_a_caller_asked_for_who_has_gone_is_computed_no_further(both: Both) -> None:
    begun, pieces, encoder = threading.Event(), threading.Semaphore(0), both.parts.encoder

    def hold(_: Sequence[str]) -> None:
        begun.set()
        assert pieces.acquire(timeout=60)

    def another_piece_and_left() -> bool:
        pieces.release()
        return sample("slop_featurizer_asked_texts_total", outcome="left") > left

    left, before = sample("slop_featurizer_asked_texts_total", outcome="left"), len(encoder.encoded)
    encoder.before = hold
    try:
        with asking(both.generation.base_url, [{"text": f"gone {number}"} for number in range(500)]):
            assert begun.wait(60)
        eventually(lambda: "slop_http_requests_in_flight 0.0" in both.generation.get("/metrics").text)
        eventually(another_piece_and_left)
    finally:
        encoder.before = lambda texts: None
        pieces.release(500)
    assert len(encoder.encoded) - before < 250


def test_thirty_two_requests_at_once_are_answered_or_told_when_to_come_again(both: Both) -> None:
    def ask(number: int) -> httpx.Response:
        return both.rank(*({"text": f"request {number} text {text}"} for text in range(500)))

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(ask, range(32)))
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert sum(answer.status_code == 200 for answer in answers) >= MOST_TEXTS // 500
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in answers if answer.status_code == 503)


@contextmanager
def asking(url: httpx.URL, posts: list[dict[str, str]]) -> Iterator[None]:
    """A request to rank posts, whose caller hangs up when the block ends."""
    body = json.dumps({"user_id": "ada", "posts": posts}).encode()
    head = f"POST /v1/rank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((url.host, url.port or 80)) as connection:
        connection.sendall(head.encode() + body)
        yield
