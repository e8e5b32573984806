"""What readers decide, change and take back, through a real Redis: the latest decision holds, and counts once."""

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from random import Random
from threading import Event

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from jobs.limits import JobLimits
from jobs.snapshots import restore_snapshot, take_snapshot
from learner.learning import BatchOutcome, Learner
from slop.factors import Factors
from slop.kafka.topics import encode
from slop.latent import MAX_FEATURE, MAX_WEIGHT
from slop.profiles import Profile
from slop.recent import MOST_DECISIONS, liked_posts
from slop.redis.profiles import ProfileArchive, Profiles, StoredUser, User, profile_key, recent_key
from slop.v1.signal_pb2 import Signal
from tests.basis import random_basis
from tests.learners import everything
from tests.signals import DAY_MS, NOON_MS, a_decision, a_signal

BASIS = random_basis()
PRIOR = BASIS.prior(variance=1.0, bias_variance=0.5, forgetting=0.955)
WINDOW_MS = 7 * DAY_MS
LIKE, DISLIKE, UNLIKE = 1.0, 0.0, None


def learner_on(redis: Redis) -> Learner:
    return Learner(Profiles(redis, BASIS.version, WINDOW_MS), BASIS, PRIOR, WINDOW_MS)


@pytest.fixture
def learner(redis_client: Redis) -> Learner:
    """One that knows of ann three signals that decide nothing."""
    learner = learner_on(redis_client)
    learn(learner, *(a_signal(BASIS, offset) for offset in range(3)))
    return learner


def learn(learner: Learner, *signals: Signal) -> BatchOutcome:
    return learner.learn([encode(signal) for signal in signals])


def stored(redis: Redis, user: str = "ann") -> Profile:
    data = redis.hget(profile_key(BASIS.version, "default", user), "profile")
    assert isinstance(data, bytes)
    return Profile.from_bytes(data, BASIS.dimensions)


def assert_same(got: Profile, expected: Profile, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(got.mean, expected.mean, rtol=0, atol=tolerance)
    np.testing.assert_allclose(got.variance, expected.variance, rtol=0, atol=tolerance)


def without(redis: Redis, *signals: Signal) -> Profile:
    """The profile of a reader of whom these signals alone were learned, after the first three."""
    others = [a_signal(BASIS, offset, user="eve") for offset in range(3)]
    for signal in signals:
        signal.user_id = "eve"
    redis.delete(profile_key(BASIS.version, "default", "eve"))
    learn(learner_on(redis), *others, *signals)
    return stored(redis, "eve")


def test_a_like_that_is_taken_back_leaves_the_profile_from_before(learner: Learner, redis_client: Redis) -> None:
    before = stored(redis_client)
    assert learn(learner, a_decision(BASIS, 3, LIKE, decided=1)).learned == 1
    moved = stored(redis_client)
    assert np.abs(moved.mean - before.mean).max() > 0.05
    outcome = learn(learner, a_decision(BASIS, 4, UNLIKE, decided=2))
    assert (outcome.learned, outcome.withdrawn) == (0, 1)
    after = stored(redis_client)
    assert_same(after, before)
    assert (after.interactions, after.version) == (4, 5)


def test_a_like_that_comes_after_its_withdrawal_counts_nothing(learner: Learner, redis_client: Redis) -> None:
    before = stored(redis_client)
    outcome = learn(learner, a_decision(BASIS, 3, UNLIKE, decided=2), a_decision(BASIS, 4, LIKE, decided=1))
    assert (outcome.withdrawn, outcome.superseded, outcome.learned) == (1, 1, 0)
    assert_same(stored(redis_client), before, 0)


def test_a_like_after_a_withdrawal_counts_again(learner: Learner, redis_client: Redis) -> None:
    labels = (LIKE, UNLIKE, LIKE)
    learn(learner, *(a_decision(BASIS, 3 + at, label, decided=at) for at, label in enumerate(labels)))
    assert_same(stored(redis_client), without(redis_client, a_decision(BASIS, 3, LIKE, decided=1)))


def test_a_thousand_likes_are_one(learner: Learner, redis_client: Redis) -> None:
    likes = [a_decision(BASIS, 3 + at, LIKE, decided=at) for at in range(1_000)]
    outcome = learn(learner, *likes)
    assert (outcome.learned, outcome.superseded) == (1, 999)
    got, expected = stored(redis_client), without(redis_client, likes[0])
    assert_same(got, expected, 0)
    assert got.interactions == expected.interactions == 4


def test_a_dislike_after_the_same_likes_again_needs_to_be_later_than_the_last_of_them(
    learner: Learner, redis_client: Redis
) -> None:
    learn(learner, a_decision(BASIS, 3, LIKE, decided=1), a_decision(BASIS, 4, LIKE, decided=9))
    liked = stored(redis_client)
    assert learn(learner, a_decision(BASIS, 5, DISLIKE, decided=5)).superseded == 1
    assert_same(stored(redis_client), liked, 0)
    assert learn(learner, a_decision(BASIS, 6, DISLIKE, decided=9)).learned == 1  # of two at once the later in the log


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_the_latest_of_like_unlike_and_dislike_holds_in_whatever_order_they_come(
    learner: Learner, redis_client: Redis, order: tuple[int, ...]
) -> None:
    labels = (LIKE, UNLIKE, LIKE, DISLIKE)
    learn(learner, *(a_decision(BASIS, 3 + at, labels[turn], decided=turn) for at, turn in enumerate(order)))
    assert_same(stored(redis_client), without(redis_client, a_decision(BASIS, 3, DISLIKE, decided=0)))


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([LIKE, DISLIKE, UNLIKE, 0.8]), min_size=1, max_size=6), st.randoms())
def test_only_the_latest_decision_is_left_of_any_sequence(
    redis_client: Redis, labels: list[float | None], randoms: Random
) -> None:
    redis_client.flushdb()
    learner = learner_on(redis_client)
    learn(learner, *(a_signal(BASIS, offset) for offset in range(3)))
    order = list(range(len(labels)))
    randoms.shuffle(order)
    learn(learner, *(a_decision(BASIS, 3 + at, labels[turn], decided=turn) for at, turn in enumerate(order)))
    last = [] if labels[-1] is None else [a_decision(BASIS, 3, labels[-1], decided=0)]
    assert_same(stored(redis_client), without(redis_client, *last), 5e-5)


def test_what_is_taken_back_goes_out_of_every_block_of_a_latent(redis_client: Redis) -> None:
    factors = Factors((), np.zeros((0, 3), np.float32), np.zeros((5, 3), np.float32), np.ones(3, np.float32))
    basis = replace(BASIS, factors=factors)
    prior = basis.prior(1.0, 0.5, 0.955, 0.998)
    learner = Learner(Profiles(redis_client, basis.version, WINDOW_MS), basis, prior, WINDOW_MS)
    like = a_decision(basis, 3, LIKE, decided=1)
    learn(learner, *(a_signal(basis, offset) for offset in range(3)))
    key, found = profile_key(basis.version, "default", "ann"), []
    for signals in ([], [like], [a_decision(basis, 4, UNLIKE, decided=2)]):
        learn(learner, *signals)
        found.append(Profile.from_bytes(redis_client.hget(key, "profile"), basis.dimensions))
    before, liked, after = found
    assert np.abs(liked.mean - before.mean)[[0, 1, 6, 7]].min() > 1e-4
    assert_same(after, before)


def test_decisions_taken_back_one_after_the_other_leave_nothing(learner: Learner, redis_client: Redis) -> None:
    before = stored(redis_client)
    likes = [a_decision(BASIS, 3 + at, LIKE, decided=at, decision=1 + at) for at in range(5)]
    backwards = [a_decision(BASIS, 20 - at, UNLIKE, decided=20 - at, decision=1 + at) for at in range(4, -1, -1)]
    assert learn(learner, *likes, *backwards).withdrawn == 5
    assert_same(stored(redis_client), before, 5e-5)


def test_a_decision_on_another_thing_stays(learner: Learner, redis_client: Redis) -> None:
    learn(learner, a_decision(BASIS, 3, LIKE, decided=1, decision=1))
    liked = stored(redis_client)
    learn(learner, a_decision(BASIS, 4, LIKE, decided=2, decision=2))
    learn(learner, a_decision(BASIS, 5, UNLIKE, decided=3, decision=2))
    assert_same(stored(redis_client), liked)


def test_heartbeats_of_one_view_count_once_by_their_last_value(learner: Learner, redis_client: Redis) -> None:
    values = [(0.0, 0.5), (0.0, 0.25), (1.0, 0.125), (1.0, 0.5), (1.0, 0.5)]
    beats = [
        a_decision(BASIS, 3 + at, label, weight=weight, decided=at, event="view")
        for at, (label, weight) in enumerate(values)
    ]
    outcome = learn(learner, *beats)
    assert (outcome.learned, outcome.retried) == (4, 1)
    got, expected = stored(redis_client), without(redis_client, beats[-1])
    assert_same(got, expected, 5e-5)
    assert got.interactions == expected.interactions


def test_a_retry_of_a_like_is_no_new_decision(learner: Learner, redis_client: Redis) -> None:
    """Its client has sent no time, so that it would be decided when it was received."""
    learn(learner, a_decision(BASIS, 3, LIKE, decided=1, event="e"), a_decision(BASIS, 4, UNLIKE, decided=2))
    before = everything(redis_client)
    assert learn(learner, a_decision(BASIS, 5, LIKE, decided=3, event="e")).retried == 1
    assert everything(redis_client) == before


def test_a_decision_is_held_for_the_window(learner: Learner, redis_client: Redis) -> None:
    learn(learner, a_decision(BASIS, 3, LIKE, decided=1, at_ms=NOON_MS))
    liked = stored(redis_client)
    late = a_decision(BASIS, 4, UNLIKE, decided=2, at_ms=NOON_MS + WINDOW_MS + 1_000)
    assert learn(learner, late).withdrawn == 1
    assert_same(stored(redis_client), liked, 0)


def test_a_received_time_far_in_the_future_does_not_empty_what_is_held(learner: Learner, redis_client: Redis) -> None:
    before = stored(redis_client)
    learn(learner, a_decision(BASIS, 3, LIKE, decided=1))
    learn(learner, a_decision(BASIS, 4, LIKE, weight=0.0, decided=1, decision=2, at_ms=2**62))
    learn(learner, a_decision(BASIS, 5, UNLIKE, decided=2))
    assert np.abs(stored(redis_client).mean - before.mean).max() < 0.05


def test_of_decisions_so_many_are_held(learner: Learner, redis_client: Redis) -> None:
    learn(learner, *(a_decision(BASIS, 3 + at, LIKE, decided=at, decision=1 + at) for at in range(MOST_DECISIONS + 1)))
    before = stored(redis_client)
    learn(learner, a_decision(BASIS, 500, UNLIKE, decided=500, decision=1))  # forgotten; now it is held as taken back
    assert_same(stored(redis_client), before, 0)
    learn(learner, a_decision(BASIS, 501, UNLIKE, decided=501, decision=100))
    assert np.abs(stored(redis_client).mean - before.mean).max() > 1e-3


def test_what_was_decided_can_be_taken_back_after_a_snapshot_was_restored(
    learner: Learner, redis_client: Redis, tmp_path: Path
) -> None:
    before = stored(redis_client)
    learn(learner, a_decision(BASIS, 3, LIKE, decided=1))
    archive = ProfileArchive(redis_client, BASIS.version, WINDOW_MS)
    snapshot = take_snapshot(archive, BASIS.version, tmp_path, 7, JobLimits(60, Event()))
    redis_client.flushall()
    restore_snapshot(snapshot.path, archive, BASIS.version)
    learn(learner, a_decision(BASIS, 4, UNLIKE, decided=2))
    assert_same(stored(redis_client), before)


class Meanwhile(Profiles):
    """Somebody else writes after every read, so often."""

    def __init__(self, redis: Redis, others: list[Callable[[], object]]) -> None:
        super().__init__(redis, BASIS.version, WINDOW_MS)
        self._others = others

    def read(self, users: list[User]) -> list[StoredUser]:  # type: ignore[override]
        found = super().read(users)
        if self._others:
            self._others.pop(0)()
        return found


def test_of_two_learners_of_one_reader_none_loses_what_the_other_has_learned(redis_client: Redis) -> None:
    """Two partitions of the log, as after it was given more of them; each learner has one."""
    ours = [a_signal(BASIS, offset, partition=0) for offset in range(4)]
    theirs = [a_signal(BASIS, offset, partition=9) for offset in range(6)]
    other = learner_on(redis_client)
    others: list[Callable[[], object]] = [lambda: learn(other, *theirs[:3]), lambda: learn(other, *theirs[3:])]
    learner = Learner(Meanwhile(redis_client, others), BASIS, PRIOR, WINDOW_MS)
    outcome = learn(learner, *ours)
    assert (outcome.learned, others) == (4, [])
    got = stored(redis_client)
    redis_client.flushdb()
    learn(learner_on(redis_client), *theirs, *ours)
    assert got.to_bytes() == stored(redis_client).to_bytes()


def test_of_two_learners_of_one_partition_the_slower_one_finds_everything_learned(redis_client: Redis) -> None:
    """As when a group is rebalanced: the new owner reads again what the old one is at."""
    signals = [a_decision(BASIS, at, LIKE, decided=at, decision=1 + at % 3) for at in range(8)]
    newer = learner_on(redis_client)
    learner = Learner(Meanwhile(redis_client, [lambda: learn(newer, *signals)]), BASIS, PRIOR, WINDOW_MS)
    outcome = learn(learner, *signals[:5])
    assert (outcome.learned, outcome.applied_before) == (0, 5)
    got = everything(redis_client)
    redis_client.flushdb()
    learn(learner_on(redis_client), *signals)
    assert everything(redis_client) == got


@st.composite
def logs(draw: st.DrawFn) -> list[Signal]:
    """What a few readers decide, change and take back, with retries and replays, and whatever values are accepted."""
    count = draw(st.integers(1, 30))
    label = st.one_of(st.sampled_from([LIKE, DISLIKE, UNLIKE]), st.floats(0, 1, width=32))
    wild = st.floats(-MAX_FEATURE, MAX_FEATURE, width=32)
    signals = []
    for offset in range(count):
        signal = a_decision(
            BASIS,
            offset,
            draw(label),
            weight=draw(st.sampled_from([1.0, 0.5, 0.0, MAX_WEIGHT])),
            decided=draw(st.integers(0, 9)),
            decision=draw(st.integers(0, 3)),
            event=draw(st.one_of(st.none(), st.sampled_from("xy"))),
            user=draw(st.sampled_from(["ann", "bob"])),
            at_ms=NOON_MS + draw(st.integers(0, 20)) * DAY_MS,
        )
        if draw(st.integers(0, 4)) == 0:
            signal.features[draw(st.integers(0, BASIS.feature_count - 1))] = draw(wild)
        signals.append(signal)
    start = draw(st.integers(0, count - 1))
    return signals + signals[start : start + draw(st.integers(0, 10))]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(logs(), st.data())
def test_what_is_stored_is_finite_and_does_not_depend_on_the_batches(
    redis_client: Redis, signals: list[Signal], data: st.DataObject
) -> None:
    values = [encode(signal) for signal in signals]
    redis_client.flushdb()
    learner = learner_on(redis_client)
    outcomes = [learner.learn([value]) for value in values]
    one_by_one = everything(redis_client)
    for user in {signal.user_id for signal in signals}:
        stored(redis_client, user)  # which refuses what is not finite, or no variance
    told = [sum((o.learned, o.applied_before, o.retried, o.superseded, o.withdrawn)) for o in outcomes]
    assert told == [1] * len(values)

    redis_client.flushdb()
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(values) - 1)), max_size=6)))
    for start, end in zip([0, *cuts], [*cuts, len(values)], strict=True):
        learner.learn(values[start:end])
    assert everything(redis_client) == one_by_one
    learner.learn(values)
    assert everything(redis_client) == one_by_one


def about(post_id: str, signal: Signal) -> Signal:
    signal.post_id = post_id
    return signal


def test_the_posts_that_a_reader_likes_are_remembered_as_long_as_they_are_liked(redis_client: Redis) -> None:
    learner = learner_on(redis_client)
    weak = about("weak", a_decision(BASIS, 0, LIKE, decided=0, decision=1, weight=0.2))
    likes = [
        about(f"p{number}", a_decision(BASIS, number, LIKE, decided=number, decision=10 + number))
        for number in range(1, 6)
    ]
    learn(learner, weak, *likes)
    learn(
        learner,
        about("p2", a_decision(BASIS, 6, UNLIKE, decided=6, decision=12)),
        about("p3", a_decision(BASIS, 7, DISLIKE, decided=7, decision=13)),
        about("p1", a_decision(BASIS, 8, LIKE, decided=8, decision=20, weight=1.2)),  # saved, say
    )
    data = redis_client.get(recent_key(BASIS.version, "default", "ann"))
    assert isinstance(data, bytes)
    assert liked_posts(data) == ("p4", "p5", "p1")
