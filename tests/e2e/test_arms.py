"""Posts of the arms that write from text, by the real engine."""

import json
from collections.abc import Iterator
from itertools import count
from typing import Any, Final

import httpx
import pytest
from redis import Redis

from slop.arms import Arm, arm_of
from slop.basis import Basis
from slop.recent import Recent
from slop.redis.posts import PostRef, Posts, PostText, SentText
from slop.redis.profiles import recent_key
from tests.basis import profile_of
from tests.generations import client_of, generation_server, put_profile
from tests.waiting import eventually

WEIGHTS: Final = {Arm.HISTORY: 1.0, Arm.PERSONA: 1.0}
READERS: Final = {
    arm: next(name for name in map("reader-{}".format, count()) if arm_of("default", name, WEIGHTS) == arm)
    for arm in WEIGHTS
}
LIKED: Final = (
    "The tomatoes are in the ground and so am I, up to the knees.",
    "Compost day! Worms, peelings, and one very happy robin.",
    "Three seedlings made it through the frost. I named them all Kevin.",
)


@pytest.fixture(scope="module")
def service(
    basis: Basis, vllm_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    server, url = generation_server(
        tmp_path_factory.mktemp("arms"),
        basis,
        vllm_url=vllm_url,
        redis_url=redis_url,
        arm_weights=json.dumps(WEIGHTS),
        engine_timeout_s=300,
    )
    server.start()
    with client_of(url) as client:
        eventually(lambda: client.get("/readyz").status_code == 200)
        yield client
    server.stop()


@pytest.fixture
def known(redis_client: Redis, basis: Basis) -> None:
    """Readers who like gardens, by their profile and by the posts that they liked."""
    posts = [(PostRef("default", f"p{number}"), text) for number, text in enumerate(LIKED)]
    Posts(redis_client, basis).put_texts([(ref, SentText(PostText(text))) for ref, text in posts])
    recent = Recent(len(basis.blocks), liked=tuple(ref.post_id for ref, _ in posts))
    for user_id in READERS.values():
        put_profile(redis_client, basis, user_id, profile_of(basis, (2.0, -1.0, -1.0, -1.0)))
        redis_client.set(recent_key(basis.version, "default", user_id), recent.to_bytes())


@pytest.mark.parametrize("arm", WEIGHTS)
@pytest.mark.parametrize("more", [{}, {"prompt": "Write about rain."}], ids=["any_post", "on_request"])
def test_an_arm_writes_real_posts(
    service: httpx.Client, known: None, redis_client: Redis, arm: Arm, more: dict[str, Any]
) -> None:
    response = service.post("/v1/generate", json={"user_id": READERS[arm], "n": 2, "max_tokens": 16, **more})
    assert response.status_code == 200, response.text
    answer = response.json()
    about = answer["personalization"]
    assert (about["arm"], about["applied"], about["reason"]) == (arm, True, "personalized")
    for post in answer["posts"]:
        assert len(post["text"].split()) > 1
        assert "<|im" not in post["text"]
        assert redis_client.hget(f"slop:text:{{default/{post['post_id']}}}", "arm") == arm.encode()
