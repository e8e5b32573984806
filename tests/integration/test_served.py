"""What a reader was served is not served again: it is remembered in Redis, within bounds."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis
from redis import asyncio as aioredis

from generation.served import RecentlyServed
from generation.writing_request import WritingRequest
from slop.copies import WORDS_DIGEST_BYTES, words_digest
from slop.redis.posts import PostRef, Posts, PostText, SentText
from slop.redis.profiles import User
from slop.redis.served import Remembered, SeenTexts, ServedTexts, seen_key, served_key
from tests.basis import random_basis
from tests.engines import ScriptedEngine, scripted_engine
from tests.generations import client_of, generation_server

ADA = User("default", "ada")
BASIS = random_basis()


@pytest.fixture
async def served(redis_client: Redis, redis_url: str) -> AsyncIterator[ServedTexts]:
    del redis_client  # it has emptied Redis
    redis = aioredis.Redis.from_url(redis_url)
    yield ServedTexts(redis, Remembered(most=4, expiry_s=100))
    await redis.aclose()


async def test_the_latest_texts_are_remembered_each_once_for_a_while(served: ServedTexts, redis_client: Redis) -> None:
    digests = [words_digest(f"post {number}") for number in range(6)]
    await served.add(ADA, digests[:3])
    await served.add(ADA, digests[:3])
    assert redis_client.strlen(served_key(ADA)) == 3 * WORDS_DIGEST_BYTES
    await served.add(ADA, digests[3:])
    assert await served.served_or_seen(ADA) == frozenset(digests[2:])
    assert 90 < int(redis_client.ttl(served_key(ADA))) <= 100  # type: ignore[arg-type]
    assert await served.served_or_seen(User("default", "bob")) == frozenset()


async def test_what_a_reader_has_seen_is_not_written_again_either(served: ServedTexts, redis_client: Redis) -> None:
    digests = [words_digest(f"post {number}") for number in range(6)]
    SeenTexts(redis_client, Remembered(most=3, expiry_s=50)).add({ADA: digests[:4], User("default", "bob"): []})
    await served.add(ADA, digests[4:])
    assert await served.served_or_seen(ADA) == frozenset(digests[1:])
    assert 40 < int(redis_client.ttl(seen_key(ADA))) <= 50  # type: ignore[arg-type]
    SeenTexts(redis_client, Remembered(most=0, expiry_s=50)).add({User("default", "eve"): digests})
    assert await served.served_or_seen(User("default", "eve")) == frozenset()


async def test_a_request_may_exclude_known_posts_and_texts(served: ServedTexts, redis_client: Redis) -> None:
    Posts(redis_client, BASIS).put_texts([(PostRef("default", "post-1"), SentText(PostText("Rain on the roof.")))])
    recently = RecentlyServed("default", served, timeout_s=5)
    request = WritingRequest("ada", is_fresh=True, exclude_posts=("post-1", "unknown"), exclude_texts=("Soup, again!",))
    await recently.add(request, ["The basil has forgiven me.", " "])
    assert await recently.not_again(request) == {
        words_digest(text) for text in ("rain on the ROOF", "soup again", "The basil has forgiven me")
    }


async def test_chats_are_neither_remembered_nor_kept_from_coming_again(served: ServedTexts) -> None:
    recently = RecentlyServed("default", served, timeout_s=5)
    await recently.add(WritingRequest("ada"), ["Yes."])
    await recently.add(WritingRequest("ada", is_fresh=True), ["No."])
    assert await recently.not_again(WritingRequest("ada")) == frozenset()


async def test_without_redis_posts_are_served_all_the_same() -> None:
    away = aioredis.Redis(port=1)
    recently = RecentlyServed("default", ServedTexts(away, Remembered(4, 100)), timeout_s=1)
    request = WritingRequest("ada", is_fresh=True, exclude_texts=("Soup.",))
    await recently.add(request, ["Rain."])
    assert await recently.not_again(request) == {words_digest("Soup.")}


@pytest.fixture
def engine() -> Iterator[ScriptedEngine]:
    with scripted_engine() as engine:
        yield engine


def test_a_post_that_the_reader_was_served_and_one_that_is_excluded_are_written_again(
    engine: ScriptedEngine, redis_client: Redis, redis_url: str, tmp_path: Path
) -> None:
    settings = {"vllm_url": engine.url, "redis_url": redis_url}
    server, url = generation_server(tmp_path, BASIS, **settings, generation_rewrites=1, generation_served_posts=8)
    server.start()
    with client_of(url) as client:
        text = client.post("/v1/generate", json={"user_id": "somebody"}).json()["posts"][0]["text"]
        SeenTexts(redis_client, Remembered(8, 100)).add({User("default", "fay"): [words_digest(text)]})

        def asked(user_id: str, **more: object) -> tuple[int, httpx.Response]:
            engine.bodies.clear()
            response = client.post("/v1/generate", json={"user_id": user_id} | more)
            assert response.status_code == 200, response.text
            return len(engine.bodies), response

        assert asked("ada")[0] == 1
        assert asked("ada")[0] == 2  # the same text comes: it is written again, and then served
        assert asked("fay")[0] == 2  # who has seen it somewhere else
        times, response = asked("bob")
        assert times == 1
        (post,) = response.json()["posts"]
        assert asked("eve", exclude=[{"post_id": post["post_id"]}])[0] == 2
        assert asked("dan", exclude=[{"text": post["text"].upper()}])[0] == 2
        assert client.post("/v1/generate", json={"user_id": "ada", "exclude": [{}]}).status_code == 422
        too_many = [{"post_id": "p"}] * 101
        assert client.post("/v1/generate", json={"user_id": "ada", "exclude": too_many}).status_code == 422
    server.stop()
