"""What is parked in Redis, and the worker that publishes it again, without a broker."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisAway

from featurizer.workers import ParkingWorker
from slop.kafka.records import ProducerRecord
from slop.kafka.topics import INTERACTIONS, REJECTED, encode
from slop.redis.parked import Entry, Parked
from slop.redis.parking import Parking, ParkingLimits, ParkOutcome
from slop.v1.interaction_pb2 import Interaction, Rejected
from tests.basis import random_basis
from tests.featurizers import BOUNDS, DAY_MS, POISON, Parts, featurizer_settings, interaction, now_ms, parts_of, ref
from tests.waiting import eventually

SHORT = replace(BOUNDS, lease_ms=1)


@pytest.fixture
def parts(redis_client: Redis) -> Iterator[Parts]:
    with parts_of(redis_client, random_basis(), SHORT) as parts:
        yield parts


@dataclass
class Working:
    """A worker whose records are kept instead of published."""

    parts: Parts
    published: list[ProducerRecord] = field(default_factory=list)
    crash: Callable[[], None] = lambda: None
    bounds: ParkingLimits = SHORT

    def step(self) -> None:
        """Do what is to be done now, in a process of its own."""
        self.worker().step(threading.Event())

    def worker(self) -> ParkingWorker:
        """As one process has it."""
        working = self

        class Crashing(Parking):
            def remove(self, entries: list[Entry]) -> None:  # type: ignore[override]
                working.crash()
                super().remove(entries)

        parking = self.parts.parking
        crashing = Crashing(parking._redis, self.parts.basis, self.bounds)
        worker = ParkingWorker(
            featurizer_settings(), crashing, self.parts.post_features, lambda: True, threading.Event()
        )
        worker._outbox.publish = self.published.extend  # type: ignore[method-assign,assignment]
        return worker

    def again(self) -> list[Interaction]:
        """What was published again so far."""
        return [Interaction.FromString(one.value) for one in self.published if one.topic == INTERACTIONS]

    def rejected(self) -> list[Rejected]:
        """What was rejected so far."""
        return [Rejected.FromString(one.value) for one in self.published if one.topic == REJECTED]


def park(parts: Parts, *interactions: Interaction, for_features: bool = False) -> list[ParkOutcome]:
    parked = [
        Parked.of(one, Rejected(reason="unknown_post", payload=encode(one), source_offset=at), encode(one))
        for at, one in enumerate(interactions)
    ]
    return parts.parking.park(parked, for_features=for_features)


def test_what_waits_for_a_text_is_parked_until_the_text_is_there(parts: Parts) -> None:
    assert park(parts, interaction("p")) == [ParkOutcome.PARKED]
    parts.publish(p="a star")
    assert park(parts, interaction("p")) == [ParkOutcome.KNOWN]
    assert park(parts, interaction("p"), for_features=True) == [ParkOutcome.PARKED]
    parts.post_features.compute(parts.post_features.find([ref("p")]), 0)  # type: ignore[arg-type]
    assert park(parts, interaction("p"), for_features=True) == [ParkOutcome.KNOWN]
    assert parts.parking.size() == 2


def test_the_books_forget_what_is_removed_and_the_reader_has_room_again(redis_client: Redis) -> None:
    with parts_of(redis_client, random_basis(), ParkingLimits(10, 2, 10, DAY_MS)) as parts:
        assert park(parts, *(interaction("p") for _ in range(3))) == [
            ParkOutcome.PARKED,
            ParkOutcome.PARKED,
            ParkOutcome.FULL,
        ]
        parked = parts.parking.of_post(ref("p"))
        parts.parking.remove([one.entry for one in parked])
        parts.parking.remove([one.entry for one in parked])  # again, after a crash
        assert redis_client.keys("slop:park*") == []
        assert park(parts, interaction("p")) == [ParkOutcome.PARKED]


def test_a_post_is_worked_on_by_one_process_at_a_time_and_by_another_if_that_one_dies(redis_client: Redis) -> None:
    with parts_of(redis_client, random_basis()) as parts:
        parts.parking.want([ref("p")])
        assert [claim.post for claim in parts.parking.claim_wanted(10)] == [ref("p")]
        assert parts.parking.claim_wanted(10) == []
    with parts_of(redis_client, random_basis(), SHORT) as parts:
        parts.parking.want([ref("q")])
        parts.parking.claim_wanted(10)
        assert eventually(lambda: parts.parking.claim_wanted(10))


def test_a_post_that_is_wanted_again_while_it_is_worked_on_stays_wanted(redis_client: Redis) -> None:
    with parts_of(redis_client, random_basis()) as parts:
        parts.parking.want([ref("p")])
        claims = parts.parking.claim_wanted(10)
        parts.parking.want([ref("p")])
        parts.parking.finish(claims)
        claims = parts.parking.claim_wanted(10)
        assert [claim.post for claim in claims] == [ref("p")]
        parts.parking.finish(claims)
        assert not redis_client.keys("slop:parking:*")


def test_what_is_wanted_is_published_again_in_the_order_in_which_it_was_received(parts: Parts) -> None:
    at_ms = now_ms()
    likes = [interaction("p", received_at_ms=at_ms - delay) for delay in (1, 3, 2)]
    park(parts, *likes)
    parts.publish(p="a star")
    parts.parking.want([ref("p")])
    working = Working(parts)
    working.step()
    again = working.again()
    assert [one.received_at_ms for one in again] == [at_ms - 3, at_ms - 2, at_ms - 1]
    assert {one.event_id for one in again} == {one.event_id for one in likes}
    assert {one.redeliveries for one in again} == {1}
    assert parts.post_features.find([ref("p")])[ref("p")].text_features is not None
    assert parts.parking.size() == 0


def test_a_crash_between_publishing_and_removing_publishes_twice_and_loses_nothing(parts: Parts) -> None:
    """The learner knows the event's id, so twice is as good as once."""
    crashes = [RedisAway("killed")]

    def crash() -> None:
        if crashes:
            raise crashes.pop()

    like, working = interaction("p"), Working(parts, crash=crash)
    park(parts, like)
    parts.publish(p="a star")
    parts.parking.want([ref("p")])
    with pytest.raises(RedisAway):
        working.step()
    assert parts.parking.size() == 1

    def done() -> bool:
        working.step()
        return parts.parking.size() == 0

    eventually(done)
    assert [(one.event_id, one.redeliveries) for one in working.again()] == [(like.event_id, 1)] * 2


def test_after_redis_was_away_the_same_process_goes_on_and_waits_for_no_lease_to_end(parts: Parts) -> None:
    away = [RedisAway("away"), RedisAway("away")]

    def crash() -> None:
        if away:
            raise away.pop()

    working = Working(parts, crash=crash, bounds=BOUNDS)
    worker, stop = working.worker(), threading.Event()
    park(parts, interaction("p"))
    parts.publish(p="a star")
    parts.parking.want([ref("p")])
    for _ in range(2):
        with pytest.raises(RedisAway):
            worker.step(stop)
    worker.step(stop)
    assert parts.parking.size() == 0
    assert len(working.again()) == 3
    parts.parking.want([ref("p")])
    assert [claim.post for claim in parts.parking.claim_wanted(10)] == [ref("p")]


def test_what_has_expired_is_rejected_and_what_has_not_stays(parts: Parts) -> None:
    old, new = interaction("p", received_at_ms=now_ms() - DAY_MS - 1), interaction("p")
    park(parts, old, new)
    working = Working(parts)
    working.step()
    assert [(one.reason, one.payload) for one in working.rejected()] == [("unknown_post", encode(old))]
    assert [one.interaction.event_id for one in parts.parking.of_post(ref("p"))] == [new.event_id]
    assert parts.parking.size() == 1


def test_what_has_expired_beside_a_text_that_came_is_published_again(parts: Parts) -> None:
    old = interaction("p", received_at_ms=now_ms() - DAY_MS - 1)
    park(parts, old)
    parts.publish(p="a star")
    working = Working(parts)

    def done() -> bool:
        working.step()
        return parts.parking.size() == 0

    eventually(done)
    assert {one.event_id for one in working.again()} == {old.event_id}
    assert not working.rejected()


def test_reactions_to_a_post_that_can_not_be_encoded_are_rejected(parts: Parts) -> None:
    like = interaction("p")
    park(parts, like)
    parts.publish(p=POISON)
    parts.parking.want([ref("p")])
    working = Working(parts)
    working.step()
    assert [(one.reason, one.payload) for one in working.rejected()] == [("failed", encode(like))]
    assert (working.again(), parts.parking.size()) == ([], 0)
