"""The featurizer's threads on real servers: what waits for its post holds nobody up and is not lost."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from uuid import uuid4

import pytest
from kafka import KafkaProducer
from redis import Redis

from featurizer.app import FeaturizerLane
from featurizer.priority import PrioritySemaphore
from featurizer.settings import FeaturizerSettings
from featurizer.text_features import TextFeatures
from slop.basis import Basis
from slop.kafka.brokers import create_topics
from slop.kafka.dead_letters import MAX_PAYLOAD
from slop.kafka.log import whole_log
from slop.kafka.topics import INTERACTIONS, POSTS, REJECTED, SIGNALS, encode, key_of
from slop.redis.parked import Entry
from slop.redis.parking import DUE_KEY
from slop.redis.posts import PostRef, features_key, parked_key, text_key
from slop.v1.interaction_pb2 import Interaction, Rejected
from slop.v1.post_pb2 import Post
from slop.v1.signal_pb2 import Signal
from tests.basis import random_basis
from tests.featurizers import (
    DAY_MS,
    POISON,
    HashEncoder,
    featurizer_settings,
    interaction,
    now_ms,
    ref,
)
from tests.samples import sample
from tests.waiting import eventually


@dataclass
class Stack:
    """A featurizer under a basis of its own, and what is published to it."""

    settings: FeaturizerSettings
    redis: Redis
    basis: Basis
    encoder: HashEncoder
    producer: KafkaProducer
    live: list[bool] = field(default_factory=lambda: [True])

    def send(self, *records: Interaction | Post) -> None:
        """Publish records, in order."""
        sent = []
        for record in records:
            topic = POSTS if isinstance(record, Post) else INTERACTIONS
            sent.append(self.producer.send(topic.name, key=key_of(record), value=encode(record)))
        for future in sent:
            future.get(timeout=30)

    def signals(self, *events: Interaction) -> list[Signal]:
        """Signals of these events so far, of this basis."""
        ids = {event.event_id for event in events}
        found = (Signal.FromString(record.value or b"") for record in whole_log(self.settings, SIGNALS))
        return [one for one in found if one.event_id in ids and one.basis == self.basis.version]

    def parked(self, event: Interaction) -> list[bytes]:
        """What is parked under an interaction's post, and what the books say of it."""
        post = PostRef(event.tenant, event.post_id)
        booked = [entry for entry in self.redis.zrange(DUE_KEY, 0, -1) if Entry.of(entry.decode()).post == post]
        return booked + self.redis.hkeys(parked_key(post))

    def learned(self, *events: Interaction) -> list[Signal]:
        """Signals of these events, once there is one of each."""
        return eventually(lambda: len(found := self.signals(*events)) >= len(events) and found)  # type: ignore[no-any-return]

    def rejected(self, *payloads: bytes) -> list[Rejected]:
        """What was rejected of these, once all are."""

        def look() -> list[Rejected] | bool:
            found = [Rejected.FromString(record.value or b"") for record in whole_log(self.settings, REJECTED)]
            found = [one for one in found if one.payload in payloads]
            return len({one.payload for one in found}) == len(set(payloads)) and found

        return eventually(look)  # type: ignore[no-any-return]


def post(post_id: str, text: str) -> Post:
    return Post(tenant="default", post_id=post_id, text=text, created_at_ms=now_ms())


def fresh() -> str:
    return f"p-{uuid4().hex[:10]}"


@pytest.fixture(scope="module")
def stack(kafka_bootstrap: str, redis_url: str) -> Iterator[Stack]:
    create_topics(kafka_bootstrap)
    settings = featurizer_settings(
        kafka_bootstrap=kafka_bootstrap,
        redis_url=redis_url,
        featurizer_parking_look_s=0.1,
        featurizer_parked_of_post=3,
    )
    basis = random_basis(seed=uuid4().int % 2**32)
    with Redis.from_url(redis_url) as redis, closing(KafkaProducer(bootstrap_servers=kafka_bootstrap)) as producer:
        redis.flushall()
        stack = Stack(settings, redis, basis, HashEncoder(basis.text_size), producer)
        features = TextFeatures(stack.encoder, basis.text_size, PrioritySemaphore(2), 10_000, lambda: stack.live[0])
        lane = FeaturizerLane(settings, redis, basis, features, lambda: stack.live[0])
        yield stack
        assert not lane.error
        lane.close()


def test_a_reaction_that_comes_before_its_post_is_learned_when_the_post_comes(stack: Stack) -> None:
    unknown, known = fresh(), fresh()
    early = interaction(unknown, received_at_ms=now_ms() - 1_000)
    stack.send(early, post(known, "the dog barks"))
    other = interaction(known, user_id="bob")
    stack.send(other)
    stack.learned(other)
    eventually(lambda: stack.parked(early))
    assert not stack.signals(early)
    stack.send(post(unknown, "a star shines"))
    [signal] = stack.learned(early)
    assert (signal.redelivered, signal.received_at_ms) == (True, early.received_at_ms)
    eventually(lambda: not stack.parked(early))


def test_a_post_that_redis_has_forgotten_is_unknown_until_it_is_sent_again(stack: Stack) -> None:
    name = fresh()
    stack.send(post(name, "the dog barks"))
    first = interaction(name)
    stack.send(first)
    stack.learned(first)
    stack.redis.delete(text_key(ref(name)), features_key(stack.basis.text_version, ref(name)))
    second = interaction(name)
    stack.send(second)
    eventually(lambda: stack.redis.hlen(f"slop:parked:{{{ref(name).key}}}"))
    stack.send(post(name, "the dog barks"))
    assert stack.learned(second)[0].redelivered


def test_a_reaction_whose_post_does_not_come_within_a_day_is_rejected_and_not_lost(stack: Stack) -> None:
    late = interaction(fresh(), received_at_ms=now_ms() - DAY_MS + 3_000)
    stack.send(late)
    [rejected] = stack.rejected(encode(late))
    assert (rejected.reason, rejected.source_topic, rejected.service) == (
        "unknown_post",
        INTERACTIONS.name,
        "featurizer",
    )
    assert rejected.HasField("source_offset")


def test_what_is_parked_is_bounded_by_the_settings_and_counted(stack: Stack) -> None:
    def counted() -> dict[str, float]:
        outcomes = ("parked", "refused", "redelivered", "expired")
        return {outcome: sample("slop_featurizer_parking_total", outcome=outcome) for outcome in outcomes}

    def more(before: dict[str, float]) -> dict[str, float]:
        return {outcome: count - before[outcome] for outcome, count in counted().items()}

    unknown, before = fresh(), counted()
    likes = [interaction(unknown, user_id=f"reader-{number}") for number in range(4)]
    stack.send(*likes)
    eventually(lambda: more(before) == {"parked": 3, "refused": 1, "redelivered": 0, "expired": 0})
    eventually(lambda: sample("slop_featurizer_parked") == stack.redis.zcard(DUE_KEY) >= 3)
    stack.send(post(unknown, "a star shines"))
    eventually(lambda: more(before) == {"parked": 3, "refused": 1, "redelivered": 3, "expired": 0})
    late = interaction(fresh(), received_at_ms=now_ms() - DAY_MS + 3_000)
    stack.send(late)
    stack.rejected(encode(late))
    eventually(lambda: more(before) == {"parked": 4, "refused": 1, "redelivered": 3, "expired": 1})


def test_what_is_no_post_or_has_no_features_is_rejected_and_the_next_post_goes_on(stack: Stack) -> None:
    broken, name = b"\xff\xff" + uuid4().bytes, fresh()
    stack.producer.send(POSTS.name, key=b"default/broken", value=broken).get(timeout=30)
    poison, good = post(fresh(), f"{POISON} {uuid4()}"), post(name, "a good one")
    empty = post(fresh(), "")
    stack.send(poison, empty, good)
    reasons = {one.payload: (one.reason, one.source_topic) for one in stack.rejected(broken, encode(poison))}
    assert reasons == {broken: ("not_protobuf", POSTS.name), encode(poison): ("failed", POSTS.name)}
    likes = [interaction(name), interaction(empty.post_id)]
    stack.send(*likes)
    stack.learned(*likes)


def test_a_thousand_new_texts_of_one_client_hold_up_nobody_and_are_all_learned(stack: Stack) -> None:
    """Counted, not timed: how many texts are encoded before the like that comes after all of them is a signal."""
    name = fresh()
    stack.send(post(name, f"known {name}"))
    first = interaction(name, user_id="bob")
    stack.send(first)
    stack.learned(first)
    go_on, encoded = threading.Event(), list[str]()

    def slow(texts: Sequence[str]) -> None:
        encoded.extend(texts)
        if threading.current_thread().name == "parking":
            assert go_on.wait(120)

    stack.encoder.before = slow
    try:
        flood = [interaction(fresh(), user_id="mallory", post_text=f"new {uuid4()}") for _ in range(1_000)]
        like = interaction(name, user_id="bob")
        stack.send(*flood, like)
        stack.learned(like)
        assert len(encoded) < 150
    finally:
        go_on.set()
        stack.encoder.before = lambda texts: None
    signals = stack.learned(*flood)
    assert {signal.event_id for signal in signals} == {event.event_id for event in flood}


def test_beside_the_live_basis_features_are_computed_for_what_is_reacted_to_and_no_more(stack: Stack) -> None:
    stack.live[0] = False
    try:
        idle, asked = post(fresh(), f"idle {uuid4()}"), post(fresh(), f"asked {uuid4()}")
        stack.send(idle, asked)
        like, unknown = interaction(asked.post_id), interaction(fresh())
        eventually(lambda: stack.redis.exists(text_key(ref(asked.post_id))))
        stack.send(unknown, like)
        stack.learned(like)
        assert asked.text in stack.encoder.encoded
        assert idle.text not in stack.encoder.encoded
        assert stack.redis.exists(text_key(ref(idle.post_id)))
        assert not stack.redis.exists(f"slop:parked:{{{ref(unknown.post_id).key}}}")
    finally:
        stack.live[0] = True


def test_a_record_as_large_as_brokers_take_is_rejected_like_any_other(stack: Stack) -> None:
    name = fresh()
    huge = b"\xff" * 1_040_000
    stack.producer.send(POSTS.name, key=b"default/huge", value=huge).get(timeout=30)
    stack.send(post(name, "after it"))
    like = interaction(name)
    stack.send(like)
    stack.learned(like)
    assert stack.rejected(huge[:MAX_PAYLOAD])[0].reason == "not_protobuf"
