"""An arm on its way from the generated post through Kafka and Redis to what the learner counts."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import suppress
from uuid import uuid4

import pytest
from redis import Redis
from redis import asyncio as aioredis

from featurizer.post_texts import ReactedPosts, TextStore
from featurizer.settings import FeaturizerSettings
from featurizer.workers import PostWorker
from generation.completions import CompletedText
from generation.contracts import Personalization, Reason
from generation.post_publishing import PostPublisher
from infra.local.ports import free_port
from kit.worker import worker_thread
from learner.learning import Learner
from slop.arms import Arm
from slop.kafka.publisher import Publisher, PublisherLimits
from slop.kafka.topics import encode
from slop.redis.posts import PostRef, PostText
from slop.redis.profiles import Profiles
from tests.basis import random_basis
from tests.featurizers import Parts, interaction, parts_of, polled
from tests.learners import wait_until
from tests.servers import HOST
from tests.signals import DAY_MS

NOWHERE = f"{HOST}:{free_port()}"
BASIS = random_basis()


@pytest.fixture
def parts(redis_client: Redis, kafka_bootstrap: str) -> Iterator[Parts]:
    """The featurizer's posts, with its worker reading texts from Kafka."""
    stop = threading.Event()
    settings = FeaturizerSettings(_env_file=None, embedder="none", kafka_bootstrap=kafka_bootstrap)
    with parts_of(redis_client, BASIS) as parts:
        texts = TextStore(parts.post_features, parts.parking, ReactedPosts)
        worker = PostWorker(settings, redis_client, f"texts-{uuid4().hex[:8]}", 100, texts, lambda: True)
        thread = worker_thread("texts", worker.run, stop)
        yield parts
        stop.set()
        thread.join(20)
        worker.close()


async def publish(bootstrap: str, redis_url: str, user_id: str, arm: Arm) -> str:
    """Make a post as generation does; returns its id. Kafka has it soon, unless it is away."""
    publisher = Publisher(bootstrap, "test", PublisherLimits(1024**2))
    publisher.start()
    try:
        async with aioredis.Redis.from_url(redis_url) as redis:
            with suppress(TimeoutError):
                async with asyncio.timeout(20 if bootstrap != NOWHERE else 0.1):
                    while not publisher.connected:
                        await asyncio.sleep(0.05)
            reason = Reason.CONTROL if arm == Arm.BASE else Reason.PERSONALIZED
            about = Personalization(
                applied=arm == Arm.SOFT, reason=reason, interactions=1, basis="b", arm=arm, experiment="autumn"
            )
            texts = [CompletedText("the dog barks")]
            [post] = await PostPublisher("default", publisher, redis, 1.0).posts(user_id, texts, about)
            while publisher.waiting:
                await asyncio.sleep(0.01)
    finally:
        await asyncio.to_thread(publisher.close)
    return post.post_id


@pytest.mark.parametrize("redis_is", ["there", "away"])
@pytest.mark.parametrize("arm", Arm)
def test_a_reaction_is_learned_under_the_arm_that_wrote_the_post_for_its_reader(
    redis_client: Redis, redis_url: str, kafka_bootstrap: str, parts: Parts, arm: Arm, redis_is: str
) -> None:
    url = redis_url if redis_is == "there" else f"redis://{NOWHERE}/0"
    post_id = asyncio.run(publish(kafka_bootstrap, url, "ann", arm))
    post = PostRef("default", post_id)
    wait_until(lambda: post in parts.posts.find([post]))
    assert parts.posts.find([post])[post].text == PostText("the dog barks", arm, "ann", "autumn")
    reactions = polled(*[interaction(post_id, user_id=user_id) for user_id in ("ann", "bob")])
    signals = parts.enricher().enrich(reactions, 1).signals
    learner = Learner(Profiles(redis_client, BASIS.version, DAY_MS), BASIS, BASIS.prior(1.0, 0.5, 0.998), DAY_MS)
    told = learner.learn([encode(signal) for signal in signals]).signals
    assert (told.arms, told.experiments, told.liked) == ([arm, ""], ["autumn", ""], [True, True])


def test_a_generated_post_is_known_before_its_reader_has_it(redis_client: Redis, redis_url: str, parts: Parts) -> None:
    post_id = asyncio.run(publish(NOWHERE, redis_url, "ann", Arm.SOFT))
    assert parts.posts.find([PostRef("default", post_id)])
