"""Interactions become signals, are parked, or are rejected; none of them stands in the way of others."""

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from redis import Redis

from featurizer.enrichment import MOST_REDELIVERIES
from featurizer.results import Enriched, Unsignalled
from slop.basis import Basis
from slop.copies import WORDS_DIGEST_BYTES, words_digest
from slop.redis.parking import ParkingLimits
from slop.redis.posts import PostText
from slop.redis.profiles import User
from slop.redis.served import seen_key
from slop.rewards import Rewards
from slop.v1.interaction_pb2 import Interaction, InteractionType
from tests.basis import random_basis
from tests.featurizers import (
    BOUNDS,
    DAY_MS,
    IMPRESSION,
    LIMITS,
    POISON,
    Parts,
    Polled,
    interaction,
    now_ms,
    parts_of,
    polled,
    ref,
)
from tests.samples import sample

EPOCH = 77
WRITTEN_FOR_ANN = PostText("the dog barks", "soft", "ann", "autumn")
DWELL = InteractionType.INTERACTION_TYPE_DWELL
UNLIKE = InteractionType.INTERACTION_TYPE_UNLIKE


@pytest.fixture
def basis() -> Basis:
    return random_basis()


@pytest.fixture
def parts(redis_client: Redis, basis: Basis) -> Iterator[Parts]:
    with parts_of(redis_client, basis) as parts:
        yield parts


def enrich(parts: Parts, *interactions: Interaction) -> Enriched:
    return parts.enricher().enrich(polled(*interactions), EPOCH)


def posts_of(enriched: Enriched) -> list[str]:
    return [signal.post_id for signal in enriched.signals]


def reasons(enriched: Enriched) -> list[str]:
    return [rejected.reason for rejected in enriched.rejected]


def parked_under(parts: Parts, post_id: str) -> list[str]:
    return [one.interaction.event_id for one in parts.parking.of_post(ref(post_id))]


def test_a_signal_carries_the_posts_features_and_its_source(parts: Parts, basis: Basis) -> None:
    parts.publish(p1="the dog barks")
    (signal,) = enrich(parts, interaction("p1")).signals
    source = signal.source
    assert (source.epoch, source.partition, source.offset, signal.basis) == (EPOCH, 3, 0, basis.version)
    assert (signal.label, signal.weight, signal.redelivered) == (1, 1, False)
    assert np.array_equal(np.array(signal.features, np.float32), parts.encoder.row("the dog barks"))


def seen_by(parts: Parts, user_id: str) -> list[bytes]:
    texts = cast("bytes | None", parts.seen.redis.get(seen_key(User("default", user_id)))) or b""
    return [texts[at : at + WORDS_DIGEST_BYTES] for at in range(0, len(texts), WORDS_DIGEST_BYTES)]


def test_what_a_reader_saw_last_is_noted_whatever_the_reader_did(parts: Parts) -> None:
    texts = {"p1": "the dog barks", "p2": "rain", "p3": "...", "p4": "soup", "p5": "basil"}
    parts.publish(**texts)
    enrich(parts, interaction("p1", IMPRESSION), interaction("p2"), interaction("p3"), interaction("unknown"))
    enrich(parts, interaction("p1"), interaction("p4", IMPRESSION, user_id="bob"))
    assert seen_by(parts, "ann") == [words_digest("the dog barks"), words_digest("rain")]
    assert seen_by(parts, "bob") == [words_digest("soup")]
    enrich(parts, interaction("p4"), interaction("p5"))
    assert seen_by(parts, "ann") == [words_digest(texts[post]) for post in ("p2", "p4", "p5")]


def test_what_is_learned_anew_is_not_seen_again(parts: Parts) -> None:
    parts.publish(p1="the dog barks")
    parts.live = False
    enrich(parts, interaction("p1"))
    assert seen_by(parts, "ann") == []


def test_a_signal_carries_what_is_decided_and_when(parts: Parts) -> None:
    parts.publish(p1="the dog barks")
    at_ms = now_ms()
    events = [interaction("p1", occurred_at_ms=at_ms - 5), interaction("p1", UNLIKE, received_at_ms=at_ms)]
    like, unlike = enrich(parts, *events).signals
    assert like.decision == unlike.decision != 0
    assert (like.decided_at_ms, unlike.decided_at_ms) == (at_ms - 5, at_ms)
    assert (like.withdraws, unlike.withdraws) == (False, True)
    assert unlike.weight == 0


def test_signals_keep_the_order_of_their_interactions(parts: Parts) -> None:
    parts.publish(**{f"p{number}": f"the dog barks {number}" for number in range(5)})
    order = ["p3", "p0", "p4", "p3", "p1"]
    enriched = enrich(parts, *map(interaction, order))
    assert posts_of(enriched) == order
    assert [signal.source.offset for signal in enriched.signals] == list(range(5))


def test_a_text_sent_along_with_the_interaction_is_enough(parts: Parts) -> None:
    assert posts_of(enrich(parts, interaction("new", post_text="a star shines"))) == ["new"]


def test_an_impression_with_a_text_changes_no_known_post(parts: Parts) -> None:
    parts.publish(p1=WRITTEN_FOR_ANN)
    enrich(parts, interaction("p1", IMPRESSION, user_id="mallory", post_text="buy my soap"))
    (signal,) = enrich(parts, interaction("p1")).signals
    assert signal.arm == "soft"
    assert np.array_equal(np.array(signal.features, np.float32), parts.encoder.row("the dog barks"))


def test_a_reaction_to_an_unknown_post_is_parked_and_the_others_go_on(parts: Parts) -> None:
    parts.publish(p1="the dog barks")
    unknown = interaction("nobody-sent-it")
    enriched = enrich(parts, unknown, interaction("p1"))
    assert (posts_of(enriched), enriched.unsignalled[Unsignalled.PARKED], enriched.rejected) == (["p1"], 1, [])
    assert parked_under(parts, "nobody-sent-it") == [unknown.event_id]


def test_a_batch_that_comes_again_after_a_crash_is_parked_once(parts: Parts) -> None:
    batch = polled(interaction("unknown"), interaction("unknown"))
    for _ in range(2):
        assert parts.enricher().enrich(batch, EPOCH).unsignalled[Unsignalled.PARKED] == 2
    assert (len(parked_under(parts, "unknown")), parts.parking.size()) == (2, 2)


def test_a_text_that_comes_while_its_reaction_is_being_parked_is_not_missed(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = type(parts.post_features).find
    calls = []

    def late(post_features: object, refs: object) -> object:
        found = find(post_features, refs)  # type: ignore[arg-type]
        if not calls:
            calls.append(refs)
            parts.publish(late="a star")  # after the look, before the parking
        return found

    monkeypatch.setattr(type(parts.post_features), "find", late)
    enriched = enrich(parts, interaction("late"))
    assert posts_of(enriched) == ["late"]
    assert parts.parking.size() == 0


def test_what_says_nothing_is_silent_and_never_parked(parts: Parts) -> None:
    enriched = enrich(parts, interaction("unknown", IMPRESSION), interaction("p", IMPRESSION, post_text="a star"))
    assert (enriched.unsignalled[Unsignalled.SILENT], parts.parking.size(), parts.encoder.encoded) == (2, 0, [])


def test_broken_bytes_are_rejected_whole(parts: Parts) -> None:
    parts.publish(p1="the dog barks")
    records = [Polled(b"\xff\xff", 0), Polled(interaction("p1").SerializeToString(), 1), Polled(None, 2)]
    enriched = parts.enricher().enrich(records, EPOCH)
    assert (reasons(enriched), posts_of(enriched)) == (["not_protobuf"], ["p1"])
    refused = enriched.rejected[0]
    assert (refused.payload, refused.source_partition, refused.source_offset) == (b"\xff\xff", 3, 0)
    assert refused.service == "featurizer"


def test_an_exception_over_one_interaction_rejects_that_one_alone(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts.publish(p1="the dog barks")
    reward_of = Rewards.reward_of

    def picky(rewards: Rewards, what: Interaction, text: str) -> object:
        if what.event_id == "bad":
            raise ZeroDivisionError("no")
        return reward_of(rewards, what, text)

    monkeypatch.setattr(Rewards, "reward_of", picky)
    enriched = enrich(parts, interaction("p1", user_id="a"), interaction("p1", event_id="bad"), interaction("p1"))
    assert (len(enriched.signals), reasons(enriched)) == (2, ["failed"])
    assert enriched.rejected[0].detail == "ZeroDivisionError: no"


def test_an_exception_over_the_batch_is_found_out_record_by_record(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts.publish(p1="the dog barks")
    find = type(parts.post_features).find

    def picky(post_features: object, refs: list[object]) -> object:
        if ref("cursed") in refs:
            raise RuntimeError("cursed")
        return find(post_features, refs)  # type: ignore[arg-type]

    monkeypatch.setattr(type(parts.post_features), "find", picky)
    enriched = enrich(parts, interaction("p1"), interaction("cursed"), interaction("p1"))
    assert (posts_of(enriched), reasons(enriched)) == (["p1", "p1"], ["failed"])


def test_a_text_that_can_not_be_encoded_rejects_its_reactions_alone(parts: Parts) -> None:
    enriched = enrich(parts, interaction("bad", post_text=POISON), interaction("good", post_text="a star"))
    assert (posts_of(enriched), reasons(enriched)) == (["good"], ["failed"])
    assert "can't be encoded" in enriched.rejected[0].detail


@pytest.mark.parametrize("value", [5e-324, 1e308, float("inf"), float("nan"), -1e300, 0.0])
def test_a_dwell_of_any_length_on_a_post_of_one_letter_ends_nothing(parts: Parts, value: float) -> None:
    parts.publish(p1="a")
    enriched = enrich(parts, interaction("p1", DWELL, value=value), interaction("p1", user_id="bob"))
    assert "bob" in [signal.user_id for signal in enriched.signals]
    assert len(enriched.signals) + len(enriched.rejected) == 2
    assert all(np.isfinite([signal.label, signal.weight]).all() for signal in enriched.signals)


def test_features_of_a_post_are_the_same_bytes_in_every_process(redis_client: Redis, basis: Basis) -> None:
    found = []
    for _ in range(2):
        redis_client.flushall()
        with parts_of(redis_client, basis) as parts:
            enriched = enrich(parts, interaction("p", post_text="we cook soup"))
            found.append(list(enriched.signals[0].features))
    assert found[0] == found[1]


def test_a_thousand_new_texts_of_one_reader_cost_the_others_a_few_posts_a_batch(parts: Parts) -> None:
    parts.publish(known="the dog barks")
    flood = [interaction(f"new-{number}", user_id="mallory", post_text=f"text {number}") for number in range(63)]
    enriched = enrich(parts, *flood, interaction("known"))
    assert posts_of(enriched)[-1] == "known"
    assert len(parts.encoder.encoded) == LIMITS.posts_of_reader + 1
    assert enriched.unsignalled[Unsignalled.PARKED] == 63 - LIMITS.posts_of_reader
    assert parts.woken


def test_many_readers_together_have_a_batch_wait_for_so_many_posts_and_no_more(parts: Parts) -> None:
    flood = [interaction(f"new-{n}", user_id=f"reader-{n}", post_text=f"text {n}") for n in range(40)]
    enriched = enrich(parts, *flood)
    assert len(parts.encoder.encoded) == len(enriched.signals) == LIMITS.posts
    assert enriched.unsignalled[Unsignalled.PARKED] == 40 - LIMITS.posts


def test_identical_texts_are_computed_once_and_cost_no_budget_after(parts: Parts) -> None:
    flood = [interaction(f"new-{number}", post_text="the same old story") for number in range(30)]
    enrich(parts, *flood[:1])
    assert len(enrich(parts, *flood[1:]).signals) == 29
    assert parts.encoder.encoded == ["the same old story"]


def test_what_is_late_already_is_not_parked_for_want_of_features(parts: Parts) -> None:
    old_ms = now_ms() - LIMITS.late_ms - 1
    old = [interaction(f"p{n}", post_text=f"text {n}", received_at_ms=old_ms) for n in range(20)]
    assert len(enrich(parts, *old).signals) == 20


def test_beyond_the_bounds_reactions_are_rejected(redis_client: Redis, basis: Basis) -> None:
    for bounds in (replace(BOUNDS, of_post=2), replace(BOUNDS, of_reader=2), replace(BOUNDS, in_all=2)):
        redis_client.flushall()
        with parts_of(redis_client, basis, bounds) as parts:
            enriched = enrich(parts, *[interaction("unknown") for _ in range(3)])
            assert (enriched.unsignalled[Unsignalled.PARKED], reasons(enriched)) == (2, ["parking_full"])
            assert parts.parking.size() == 2


def test_one_readers_bound_leaves_the_others_room(redis_client: Redis, basis: Basis) -> None:
    with parts_of(redis_client, basis, ParkingLimits(100, 2, 100, DAY_MS)) as parts:
        enrich(parts, *[interaction(f"unknown-{number}", user_id="mallory") for number in range(9)])
        assert enrich(parts, interaction("unknown-0", user_id="bob")).unsignalled[Unsignalled.PARKED] == 1


@pytest.mark.parametrize("fields", [{"received_at_ms": 1}, {"redeliveries": MOST_REDELIVERIES}])
def test_what_has_waited_for_a_day_or_in_vain_too_often_is_not_parked_again(
    parts: Parts, fields: dict[str, int]
) -> None:
    enriched = enrich(parts, interaction("unknown", **fields))
    assert (reasons(enriched), parts.parking.size()) == (["unknown_post"], 0)


def test_a_basis_that_is_learned_beside_the_live_one_passes_over_what_it_can_not_know(parts: Parts) -> None:
    parts.live = False
    parts.publish(**{f"p{number}": f"text {number}" for number in range(30)})
    enriched = enrich(parts, interaction("unknown"), *[interaction(f"p{number}") for number in range(30)])
    assert (enriched.unsignalled[Unsignalled.PASSED], len(enriched.signals), parts.parking.size()) == (1, 30, 0)


def test_a_signal_carries_the_arm_that_wrote_the_post_for_its_reader(parts: Parts) -> None:
    parts.publish(p1=WRITTEN_FOR_ANN, p2="a star")
    signals = enrich(parts, interaction("p1"), interaction("p1", user_id="bob"), interaction("p2")).signals
    assert [signal.arm for signal in signals] == ["soft", "", ""]
    assert [signal.experiment for signal in signals] == ["autumn", "", ""]


def test_an_interaction_that_was_published_again_says_so(parts: Parts) -> None:
    parts.publish(p1="the dog barks")
    (signal,) = enrich(parts, interaction("p1", redeliveries=1)).signals
    assert signal.redelivered


def test_lookups_are_counted_as_found_or_computed(parts: Parts) -> None:
    def counted() -> tuple[float, ...]:
        names = ("slop_featurizer_batch_posts_count", "slop_featurizer_batch_posts_sum")
        lookups = [sample("slop_featurizer_lookups_total", result=result) for result in ("hit", "miss")]
        return *lookups, *map(sample, names)

    parts.publish(p0="the dog barks", p1="a star")
    before = counted()
    enrich(parts, interaction("p0"), interaction("p1"), interaction("p0"))
    enrich(parts, interaction("p0"))
    assert [now - was for now, was in zip(counted(), before, strict=True)] == [1, 3, 1, 2]
