"""What the learner's worker does with records that can't be learned."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from redis.exceptions import ConnectionError as RedisAway
from redis.exceptions import ResponseError

from learner.app import Worker
from learner.learning import BatchOutcome, LearnedSignals, Learner
from learner.settings import LearnerSettings
from slop.kafka.durability import DurableCommits
from slop.kafka.records import ConsumerRecord, ProducerRecord
from slop.kafka.topics import REJECTED
from slop.signals import Reason, RejectedRecord
from slop.v1.interaction_pb2 import Rejected
from tests.samples import sample


@dataclass
class Signal:
    """A record of the topic."""

    offset: int
    value: bytes
    topic: str = "slop.signals.v1"
    partition: int = 0
    key: bytes = b"default/ann"


@dataclass
class Commits:
    """Gives records once, and is told when they are done."""

    records: list[Signal]
    read_before: int = 0
    done_times: int = 0
    emptied: bool = False

    def poll(self, wait_s: float, max_records: int) -> list[Signal]:
        del wait_s
        polled, self.records = self.records[:max_records], self.records[max_records:]
        return polled

    def done(self) -> bool:
        self.done_times += 1
        return not self.emptied

    def was_read_before(self, record: ConsumerRecord) -> bool:
        return record.offset < self.read_before


@dataclass
class Fussy:
    """A learner that fails over some values."""

    fails: dict[bytes, Exception]
    refuses: bytes = b""
    unremembered: int = 0
    learned: list[bytes] = field(default_factory=list)
    forgotten: list[bytes | None] = field(default_factory=list)

    def forget(self, values: Sequence[bytes | None]) -> None:
        self.forgotten += values

    def learn(self, values: Sequence[bytes | None]) -> BatchOutcome:
        for value in values:
            if value in self.fails:
                raise self.fails[value]
        refused = [
            RejectedRecord(at, Reason.WRONG_LENGTH, "2 features")
            for at, value in enumerate(values)
            if value == self.refuses
        ]
        self.learned += [value for value in values if value and value != self.refuses]
        return BatchOutcome(
            LearnedSignals(), applied_before=self.unremembered, rejected=tuple(refused), unremembered=self.unremembered
        )


@dataclass
class Outbox:
    """Takes what is published, and may be away for a while."""

    away: int = 0
    published: list[Rejected] = field(default_factory=list)

    def publish(self, records: Sequence[ProducerRecord]) -> None:
        assert all(record.topic == REJECTED for record in records)
        self.published += [Rejected.FromString(record.value) for record in records]


def a_worker(learner: Fussy, commits: Commits, is_live: bool = True) -> tuple[Worker, Outbox]:
    settings, outbox = LearnerSettings(_env_file=None), Outbox()
    made = Worker(cast("DurableCommits", commits), cast("Learner", learner), settings, lambda: is_live)
    cast("Any", made)._outbox = outbox
    return made, outbox


def some_records(*values: bytes) -> list[Signal]:
    return [Signal(offset, value) for offset, value in enumerate(values)]


def test_a_record_that_learning_fails_over_is_rejected_and_the_others_are_learned() -> None:
    commits, learner = Commits(some_records(b"a", b"bad", b"c")), Fussy({b"bad": ZeroDivisionError("of nothing")})
    worker, outbox = a_worker(learner, commits)
    assert worker.step(threading.Event()) == 3
    assert learner.learned == [b"a", b"c"]
    (rejected,) = outbox.published
    assert (rejected.reason, rejected.detail) == ("failed", "ZeroDivisionError: of nothing")
    assert (rejected.payload, rejected.source_topic, rejected.source_offset) == (b"bad", "slop.signals.v1", 1)
    assert (rejected.key, rejected.service) == (b"default/ann", "learner")
    assert commits.done_times == 1


def test_what_the_learner_refuses_is_rejected_with_its_reason() -> None:
    commits, learner = Commits(some_records(b"a", b"short", b"c")), Fussy({}, refuses=b"short")
    worker, outbox = a_worker(learner, commits)
    worker.step(threading.Event())
    (rejected,) = outbox.published
    assert (rejected.reason, rejected.detail, rejected.source_offset) == ("wrong_length", "2 features", 1)
    assert learner.learned == [b"a", b"c"]


def test_a_user_whose_key_redis_can_not_work_with_stops_no_other() -> None:
    broken = ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")
    commits, learner = Commits(some_records(b"a", b"bad", b"c")), Fussy({b"bad": broken})
    worker, outbox = a_worker(learner, commits)
    worker.step(threading.Event())
    assert [rejected.payload for rejected in outbox.published] == [b"bad"]
    assert learner.learned == [b"a", b"c"]


def test_while_redis_is_away_a_batch_is_tried_again_and_nothing_is_rejected() -> None:
    commits, learner = Commits(some_records(b"a", b"b")), Fussy({b"b": RedisAway("away")})
    worker, outbox = a_worker(learner, commits)
    timer = threading.Timer(0.2, learner.fails.clear)
    timer.start()
    worker.step(threading.Event())
    timer.join()
    assert learner.learned == [b"a", b"b"]
    assert outbox.published == []


def test_under_a_basis_that_is_not_live_nothing_is_rejected_a_second_time() -> None:
    commits, learner = Commits(some_records(b"bad")), Fussy({b"bad": ValueError("bad")})
    worker, outbox = a_worker(learner, commits, is_live=False)
    worker.step(threading.Event())
    assert outbox.published == []
    assert commits.done_times == 1


@pytest.mark.parametrize(("read_before", "counted"), [(0, 3), (1, 0)])
def test_replays_are_unexplained_unless_their_records_were_read_before(read_before: int, counted: int) -> None:
    before = sample("slop_learner_unexplained_replays_total")
    commits, learner = Commits(some_records(b"a", b"b", b"c"), read_before), Fussy({}, unremembered=3)
    worker, _ = a_worker(learner, commits)
    worker.step(threading.Event())
    assert sample("slop_learner_unexplained_replays_total") - before == counted


@pytest.mark.parametrize("emptied", [True, False])
def test_what_is_learned_while_redis_is_emptied_is_taken_back(emptied: bool) -> None:
    commits, learner = Commits(some_records(b"a", b"b"), emptied=emptied), Fussy({})
    worker, _ = a_worker(learner, commits)
    worker.step(threading.Event())
    assert learner.forgotten == ([b"a", b"b"] if emptied else [])
