"""Features of posts before anybody reacts to them."""

import threading
from collections.abc import Iterator

import pytest
from redis import Redis

from featurizer.new_posts import POSTS_BETWEEN_LOOKS, BackgroundFeatures
from kit.worker import Stopped
from slop.redis.posts import POST_TTL_S
from slop.v1.post_pb2 import Post
from tests.basis import random_basis
from tests.featurizers import POISON, Parts, Polled, now_ms, parts_of, ref

OLD_MS = now_ms() - 1_000 * POST_TTL_S - 60_000


@pytest.fixture
def parts(redis_client: Redis) -> Iterator[Parts]:
    with parts_of(redis_client, random_basis()) as parts:
        yield parts


def records(**texts: str) -> list[Polled]:
    posts = [
        Post(tenant="default", post_id=post_id, text=text, created_at_ms=now_ms()) for post_id, text in texts.items()
    ]
    return [Polled(post.SerializeToString(), topic="slop.posts.v1") for post in posts]


def working(parts: Parts, asked_for: bool = True, stop: threading.Event | None = None) -> BackgroundFeatures:
    return BackgroundFeatures(parts.post_features, lambda: asked_for, stop or threading.Event())


def test_features_are_there_before_anybody_reacts_and_the_text_may_come_later(parts: Parts) -> None:
    assert working(parts)(records(p="a star shines")) == []
    parts.publish(p="a star shines")
    assert parts.posts.find([ref("p")])[ref("p")].text_features is not None


def test_what_is_known_is_not_computed_again(parts: Parts) -> None:
    for _ in range(2):
        parts.publish(p="a star shines")
        working(parts)(records(p="a star shines"))
    assert parts.encoder.encoded == ["a star shines"]


def test_features_that_nobody_asks_for_and_those_of_forgotten_posts_are_not_computed(parts: Parts) -> None:
    assert working(parts, asked_for=False)(records(p="a star shines")) == []
    old = Post(tenant="default", post_id="old", text="forgotten", created_at_ms=OLD_MS)
    working(parts)([Polled(old.SerializeToString()), Polled(None), Polled(b"\xff\xff")])
    assert parts.encoder.encoded == []


def test_a_post_that_can_not_be_encoded_is_rejected_alone(parts: Parts) -> None:
    batch = records(good="a star", bad=POISON)
    [rejected] = working(parts)(batch)
    assert (rejected.reason, rejected.payload, rejected.source_topic) == (
        "failed",
        batch[1].value,
        "slop.posts.v1",
    )
    assert parts.encoder.encoded == ["a star"]


def test_a_stop_leaves_what_is_not_computed_yet(parts: Parts) -> None:
    stop = threading.Event()
    parts.encoder.before = lambda texts: stop.set()
    with pytest.raises(Stopped):
        working(parts, stop=stop)(records(**{f"p{number}": f"text {number}" for number in range(20)}))
    assert len(parts.encoder.encoded) == POSTS_BETWEEN_LOOKS
