import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from redis import Redis

from kit.worker import Stopped
from slop.basis import Basis
from slop.posts import PostRef, Posts, PostText
from slop.rewards import Rewards
from slop.v1.interaction_pb2 import Interaction, InteractionType
from tests.basis import random_basis
from tests.samples import sample
from tests.tiny_model import random_prompts, tiny_model
from trainer.catalog import Catalog
from trainer.enrichment import Enricher
from trainer.extraction import Extractor
from trainer.language_model import PromptScorer

LIKE = InteractionType.INTERACTION_TYPE_LIKE
MODEL = tiny_model()


@dataclass
class Polled:
    value: bytes | None
    offset: int
    topic: str = "slop.interactions.v1"
    partition: int = 3


def interaction(post_id: str, kind: "InteractionType.ValueType" = LIKE, **fields: object) -> Interaction:
    return Interaction(event_id="e", tenant="default", user_id="ann", post_id=post_id, type=kind, **fields)  # type: ignore[arg-type]


def polled(*interactions: Interaction) -> list[Polled]:
    return [Polled(record.SerializeToString(), offset) for offset, record in enumerate(interactions)]


@pytest.fixture
def basis() -> Basis:
    return random_basis()


@pytest.fixture
def catalog(redis_client: Redis, basis: Basis) -> Iterator[Catalog]:
    stop = threading.Event()
    extractor = Extractor(PromptScorer(MODEL, random_prompts(basis.size)), basis)
    yield Catalog(Posts(redis_client, basis), extractor, cached=10, wait_s=0.3, stop=stop)
    stop.set()


def test_a_signal_carries_the_posts_features_and_its_source(catalog: Catalog, basis: Basis) -> None:
    catalog.announce({PostRef("default", "p1"): PostText("the dog barks")})
    (signal,) = Enricher(catalog, basis, Rewards.of({})).enrich(polled(interaction("p1"))).signals
    assert (signal.source.partition, signal.source.offset, signal.basis) == (3, 0, basis.version)
    assert (signal.label, signal.weight) == (1, 1)
    assert len(signal.features) == basis.feature_count


def test_signals_keep_the_order_of_their_interactions(catalog: Catalog, basis: Basis) -> None:
    catalog.announce({PostRef("default", f"p{i}"): PostText(f"the dog barks {'a ' * i}") for i in range(5)})
    order = ["p3", "p0", "p4", "p3", "p1"]
    enriched = Enricher(catalog, basis, Rewards.of({})).enrich(polled(*map(interaction, order)))
    assert [signal.post_id for signal in enriched.signals] == order
    assert [signal.source.offset for signal in enriched.signals] == list(range(5))


def test_a_text_sent_along_with_the_interaction_is_enough(catalog: Catalog, basis: Basis) -> None:
    enriched = Enricher(catalog, basis, Rewards.of({})).enrich(polled(interaction("new", post_text="a star shines")))
    assert len(enriched.signals) == 1


def test_an_unknown_post_is_rejected_with_its_record_and_the_others_go_on(catalog: Catalog, basis: Basis) -> None:
    catalog.announce({PostRef("default", "p1"): PostText("the dog barks")})
    records = polled(interaction("nobody-sent-it"), interaction("p1"))
    enriched = Enricher(catalog, basis, Rewards.of({})).enrich(records)
    assert [rejected.reason for rejected in enriched.rejected] == ["unknown_post"]
    assert enriched.rejected[0].payload == records[0].value
    assert [signal.post_id for signal in enriched.signals] == ["p1"]


def test_a_post_that_arrives_a_moment_later_is_waited_for(catalog: Catalog, basis: Basis) -> None:
    late = threading.Timer(0.15, catalog.announce, [{PostRef("default", "late"): PostText("a star")}])
    late.start()
    enriched = Enricher(catalog, basis, Rewards.of({})).enrich(polled(interaction("late")))
    late.join()
    assert len(enriched.signals) == 1


def test_an_impression_says_nothing_and_broken_bytes_are_rejected(catalog: Catalog, basis: Basis) -> None:
    catalog.announce({PostRef("default", "p1"): PostText("the dog barks")})
    impression = interaction("p1", InteractionType.INTERACTION_TYPE_IMPRESSION)
    enriched = Enricher(catalog, basis, Rewards.of({})).enrich([*polled(impression), Polled(b"\xff\xff", 1)])
    assert (enriched.silent, enriched.signals) == (1, [])
    assert [rejected.reason for rejected in enriched.rejected] == ["not_protobuf"]


def test_features_of_a_post_are_the_same_bytes_in_every_process(redis_client: Redis, basis: Basis) -> None:
    found = []
    for _ in range(2):
        redis_client.flushall()
        extractor = Extractor(PromptScorer(tiny_model(), random_prompts(basis.size)), basis)
        catalog = Catalog(Posts(redis_client, basis), extractor, 10, 0.1, threading.Event())
        ref = PostRef("default", "p")
        catalog.announce({ref: PostText("we cook soup")})
        found.append(catalog.find([ref])[ref].text_features)
    assert np.array_equal(found[0], found[1])


def test_a_stop_leaves_what_is_not_computed_yet(redis_client: Redis, basis: Basis) -> None:
    stop = threading.Event()
    stop.set()
    extractor = Extractor(PromptScorer(MODEL, random_prompts(basis.size)), basis)
    texts = {PostRef("default", f"p{number}"): PostText("we cook soup") for number in range(3)}
    with pytest.raises(Stopped):
        Catalog(Posts(redis_client, basis), extractor, 10, 0.1, stop).compute(texts, urgent=False)
    stored = Posts(redis_client, basis).get(list(texts))
    assert [post is not None for post in stored] == [True, False, False]


def test_a_changed_text_gets_new_features_and_the_same_text_does_not(catalog: Catalog) -> None:
    ref = PostRef("default", "p")
    assert catalog.announce({ref: PostText("the dog")}) == {ref: PostText("the dog")}
    first = catalog.find([ref])[ref]
    assert catalog.announce({ref: PostText("the dog")}) == {}
    assert catalog.announce({ref: PostText("a star")}) == {ref: PostText("a star")}
    assert not np.array_equal(catalog.find([ref])[ref].text_features, first.text_features)
    assert catalog.announce({ref: PostText("a star")}) == {}


def test_a_text_announced_by_another_process_is_found_without_waiting(
    redis_client: Redis, catalog: Catalog, basis: Basis
) -> None:
    Posts(redis_client, basis).put_texts({PostRef("default", "p1"): PostText("the dog barks")})
    assert len(Enricher(catalog, basis, Rewards.of({})).enrich(polled(interaction("p1"))).signals) == 1


WRITTEN_FOR_ANN = PostText("the dog barks", "soft", "ann")


def arms_of(catalog: Catalog, basis: Basis, *interactions: Interaction) -> list[str]:
    return [signal.arm for signal in Enricher(catalog, basis, Rewards.of({})).enrich(polled(*interactions)).signals]


def test_a_signal_carries_the_arm_that_wrote_the_post_for_its_reader(catalog: Catalog, basis: Basis) -> None:
    catalog.announce({PostRef("default", "p1"): WRITTEN_FOR_ANN, PostRef("default", "p2"): PostText("a star")})
    others = interaction("p1")
    others.user_id = "bob"
    assert arms_of(catalog, basis, interaction("p1"), others, interaction("p2")) == ["soft", "", ""]


def test_the_same_text_sent_along_takes_neither_arm_nor_features_away(
    redis_client: Redis, catalog: Catalog, basis: Basis
) -> None:
    ref = PostRef("default", "p1")
    catalog.announce({ref: WRITTEN_FOR_ANN})
    catalog.compute({ref: WRITTEN_FOR_ANN}, urgent=False)
    assert arms_of(catalog, basis, interaction("p1", post_text="the dog barks")) == ["soft"]
    [stored] = Posts(redis_client, basis).get([ref])
    assert stored is not None
    assert stored.text == WRITTEN_FOR_ANN


def test_another_text_sent_along_is_not_what_the_arm_wrote(catalog: Catalog, basis: Basis) -> None:
    catalog.announce({PostRef("default", "p1"): WRITTEN_FOR_ANN})
    assert arms_of(catalog, basis, interaction("p1", post_text="my own words")) == [""]


def test_an_arm_that_comes_while_features_are_computed_is_stamped_and_stays(
    redis_client: Redis, catalog: Catalog, basis: Basis, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref, compute = PostRef("default", "p1"), Extractor.features

    def slow(extractor: Extractor, text: str, *, urgent: bool) -> object:
        Posts(redis_client, basis).put_texts({ref: WRITTEN_FOR_ANN})
        return compute(extractor, text, urgent=urgent)

    with monkeypatch.context() as patch:
        patch.setattr(Extractor, "features", slow)
        assert arms_of(catalog, basis, interaction("p1", post_text="the dog barks")) == ["soft"]
    assert arms_of(catalog, basis, interaction("p1", post_text="the dog barks")) == ["soft"]


def test_lookups_are_counted_as_found_or_computed(catalog: Catalog, basis: Basis) -> None:
    def counted() -> tuple[float, ...]:
        names = ("slop_featurizer_batch_posts_count", "slop_featurizer_batch_posts_sum")
        lookups = [sample("slop_featurizer_lookups_total", result=result) for result in ("hit", "miss")]
        return *lookups, *map(sample, names)

    catalog.announce({PostRef("default", f"p{i}"): PostText(f"the dog barks {'a ' * i}") for i in range(3)})
    before = counted()
    enricher = Enricher(catalog, basis, Rewards.of({}))
    enricher.enrich(polled(interaction("p0"), interaction("p1"), interaction("p0"), interaction("nobody-sent-it")))
    enricher.enrich(polled(interaction("p0")))
    assert [now - was for now, was in zip(counted(), before, strict=True)] == [1, 3, 1, 2]
