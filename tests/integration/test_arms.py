"""An arm on its way from the generated post through Kafka and Redis to what the learner counts."""

import asyncio
import threading
from collections.abc import Iterator
from uuid import uuid4

import pytest
from redis import Redis

from generation.contracts import Personalization, Reason
from generation.minting import Mint
from slop.arms import Arm
from slop.posts import PostRef, Posts, PostText
from slop.publisher import Limits, Publisher
from slop.rewards import Rewards
from slop.storage import Profiles
from slop.topics import encode
from slop.v1.interaction_pb2 import Interaction, InteractionType
from tests.basis import random_basis
from tests.learners import wait_until
from tests.signals import DAY_MS, NOON_MS
from tests.tiny_model import random_prompts, tiny_model
from trainer.catalog import Catalog
from trainer.enrichment import Enricher
from trainer.extraction import Extractor
from trainer.featurizer import PostWorker
from trainer.language_model import PromptScorer
from trainer.learning import Learner
from trainer.settings import FeaturizerSettings

BASIS = random_basis()


class Polled:
    """An interaction as it is polled."""

    topic, partition, key = "slop.interactions.v1", 0, None

    def __init__(self, interaction: Interaction, offset: int) -> None:
        self.value, self.offset = encode(interaction), offset


@pytest.fixture
def catalog(redis_client: Redis, kafka_bootstrap: str) -> Iterator[Catalog]:
    """The featurizer's posts, with its worker reading texts from Kafka."""
    stop = threading.Event()
    extractor = Extractor(PromptScorer(tiny_model(), random_prompts(BASIS.size)), BASIS)
    catalog = Catalog(Posts(redis_client, BASIS), extractor, cached=10, wait_s=0.3, stop=stop)
    settings = FeaturizerSettings(model="none", kafka_bootstrap=kafka_bootstrap)
    worker = PostWorker(settings, f"texts-{uuid4().hex[:8]}", 100, catalog.announce)
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    yield catalog
    stop.set()
    thread.join(20)
    worker.subscription.close()


async def mint(bootstrap: str, user_id: str, arm: Arm) -> str:
    """Publish a post as generation does; returns its id."""
    publisher = Publisher(bootstrap, "test", Limits(1024**2))
    publisher.start()
    try:
        async with asyncio.timeout(20):
            while not publisher.connected:
                await asyncio.sleep(0.05)
            reason = Reason.CONTROL if arm == Arm.BASE else Reason.PERSONALIZED
            about = Personalization(applied=arm == Arm.SOFT, reason=reason, interactions=1, basis="b", arm=arm)
            answer = Mint("default", publisher).posts(user_id, ["the dog barks"], about)
            while publisher.waiting:
                await asyncio.sleep(0.01)
    finally:
        await asyncio.to_thread(publisher.close)
    return answer.posts[0].post_id


def like(user_id: str, post_id: str) -> Interaction:
    return Interaction(
        event_id=uuid4().hex,
        tenant="default",
        user_id=user_id,
        post_id=post_id,
        type=InteractionType.INTERACTION_TYPE_LIKE,
        received_at_ms=NOON_MS,
    )


@pytest.mark.parametrize("arm", Arm)
def test_a_reaction_is_learned_under_the_arm_that_wrote_the_post_for_its_reader(
    redis_client: Redis, kafka_bootstrap: str, catalog: Catalog, arm: Arm
) -> None:
    post_id = asyncio.run(mint(kafka_bootstrap, "ann", arm))
    posts = Posts(redis_client, BASIS)
    wait_until(lambda: posts.texts([PostRef("default", post_id)]) == [PostText("the dog barks", arm, "ann")])
    reactions = [Polled(like(user_id, post_id), offset) for offset, user_id in enumerate(("ann", "bob"))]
    signals = Enricher(catalog, BASIS, Rewards.of({})).enrich(reactions).signals
    learner = Learner(Profiles(redis_client, BASIS.version, DAY_MS), BASIS, BASIS.prior(1.0, 0.5, 0.998), DAY_MS)
    lessons = learner.learn([encode(signal) for signal in signals]).lessons
    assert (lessons.arms, lessons.liked) == ([arm, ""], [True, True])
