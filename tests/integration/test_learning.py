"""A batch of signals through a real Redis: what is learned, and that it does not depend on the batches."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from learner.learning import LearnedSignals, Learner
from slop.kafka.topics import encode
from slop.latent import Floats, update
from slop.profiles import Applied, Profile
from slop.redis.profiles import Profiles, profile_key
from slop.reproducible import Doubles
from slop.v1.signal_pb2 import Signal
from tests.basis import random_basis
from tests.learners import everything
from tests.signals import DAY_MS, NOON_MS, a_signal

BASIS = random_basis()
PRIOR = BASIS.prior(variance=1.0, bias_variance=0.5, forgetting=0.998)
WINDOW_MS = 7 * DAY_MS


def learner_on(redis: Redis) -> Learner:
    return Learner(Profiles(redis, BASIS.version, WINDOW_MS), BASIS, PRIOR, WINDOW_MS)


@pytest.fixture
def learner(redis_client: Redis) -> Learner:
    return learner_on(redis_client)


def encoded(signals: list[Signal]) -> list[bytes]:
    return [encode(signal) for signal in signals]


def stored(redis: Redis, user: str = "ann", tenant: str = "default") -> Profile:
    data = redis.hget(profile_key(BASIS.version, tenant, user), "profile")
    assert isinstance(data, bytes)
    return Profile.from_bytes(data, BASIS.dimensions)


def moved(signal: Signal, mean: Floats, variance: Floats) -> tuple[Floats, Floats, Doubles]:
    """The update of one reader by one signal."""
    features, label, weight = (np.array([v], np.float32) for v in (signal.features, signal.label, signal.weight))
    return update(mean, variance, features, label, weight, PRIOR)


def test_a_profile_is_the_update_applied_signal_by_signal(learner: Learner, redis_client: Redis) -> None:
    signals = [a_signal(BASIS, offset) for offset in range(5)]
    assert learner.learn(encoded(signals)).learned == 5
    expected = Profile.new(BASIS.version, PRIOR)
    mean, variance = expected.mean[None], expected.variance[None]
    for s in signals:
        mean, variance, _ = moved(s, mean, variance)
    profile = stored(redis_client)
    assert (profile.mean.tobytes(), profile.variance.tobytes()) == (mean.tobytes(), variance.tobytes())
    assert (profile.interactions, profile.applied, profile.updated_at_ms) == (5, (Applied(1, 0, 4),), NOON_MS + 4)


def test_a_batch_learned_twice_is_learned_once(learner: Learner, redis_client: Redis) -> None:
    values = encoded([a_signal(BASIS, offset, user=user) for offset, user in enumerate("abcab")])
    assert learner.learn(values).learned == 5
    before = everything(redis_client)
    again = learner.learn(values)
    assert (again.learned, again.applied_before) == (0, 5)
    assert everything(redis_client) == before


def test_a_retry_in_a_later_batch_changes_nothing(learner: Learner, redis_client: Redis) -> None:
    learner.learn(encoded([a_signal(BASIS, 0, event="e")]))
    before = everything(redis_client)
    assert learner.learn(encoded([a_signal(BASIS, 1, event="e", at_ms=NOON_MS + DAY_MS)])).retried == 1
    assert everything(redis_client) == before


def test_tenants_with_the_same_user_learn_apart(learner: Learner, redis_client: Redis) -> None:
    learner.learn(encoded([a_signal(BASIS, 0, tenant="one"), a_signal(BASIS, 1, tenant="two")]))
    assert stored(redis_client, tenant="one").applied == (Applied(1, 0, 0),)
    assert stored(redis_client, tenant="two").applied == (Applied(1, 0, 1),)


def test_a_broken_signal_leaves_its_users_other_signals_alone(learner: Learner, redis_client: Redis) -> None:
    signals = [a_signal(BASIS, offset) for offset in range(3)]
    signals[1].features[0] = float("nan")
    outcome = learner.learn([*encoded(signals), b"\xff\xff\xff"])
    assert outcome.learned == 2
    assert [(refused.index, refused.reason) for refused in outcome.rejected] == [(1, "not_finite"), (3, "not_protobuf")]
    assert stored(redis_client).interactions == 2


def test_a_batch_of_another_basis_writes_nothing(learner: Learner, redis_client: Redis) -> None:
    signal = a_signal(BASIS, 0)
    signal.basis = "another"
    assert learner.learn(encoded([signal])).other_basis == 1
    assert redis_client.dbsize() == 0


def test_a_broken_profile_starts_anew(learner: Learner, redis_client: Redis) -> None:
    redis_client.hset(profile_key(BASIS.version, "default", "ann"), "profile", b"\xff")
    learner.learn(encoded([a_signal(BASIS, 3)]))
    assert stored(redis_client).interactions == 1


def test_an_empty_batch_is_no_work(learner: Learner, redis_client: Redis) -> None:
    assert learner.learn([]).learned == 0
    assert redis_client.dbsize() == 0


def test_what_was_received_is_told_for_freshness(learner: Learner) -> None:
    values = encoded([a_signal(BASIS, 0, at_ms=5), a_signal(BASIS, 1, at_ms=6), a_signal(BASIS, 1, at_ms=7)])
    assert learner.learn(values).signals.received_ms == [5, 6]


def test_lessons_tell_of_each_signal_learned_its_arm_and_what_was_predicted(learner: Learner) -> None:
    signals = [a_signal(BASIS, offset, user=user) for offset, user in enumerate("aba")]
    for signal, arm, label in zip(signals, ("soft", "base", ""), (1.0, 0.0, 0.75), strict=True):
        signal.arm, signal.label = arm, label
    told = learner.learn(encoded([*signals, signals[0]])).signals
    assert (told.arms, told.liked) == (["soft", "", "base"], [True, True, False])

    newborn = Profile.new(BASIS.version, PRIOR)
    before = newborn.mean[None], newborn.variance[None]
    first = moved(signals[0], *before)
    expected = [first, moved(signals[2], *first[:2]), moved(signals[1], *before)]
    assert told.predicted == [float(p[0]) for _, _, p in expected]


def test_a_signal_exactly_between_like_and_dislike_tells_of_neither(learner: Learner) -> None:
    liked, between = a_signal(BASIS, 0), a_signal(BASIS, 1)
    liked.label, between.label = 1.0, 0.5
    told = learner.learn(encoded([liked, between])).signals
    assert (told.liked, len(told.predicted), len(told.received_ms)) == ([True], 1, 2)


def test_what_was_learned_before_is_no_lesson(learner: Learner) -> None:
    values = encoded([a_signal(BASIS, 0)])
    learner.learn(values)
    assert learner.learn(values).signals == LearnedSignals()


@st.composite
def topics(draw: st.DrawFn) -> list[Signal]:
    """Signals of a few users as a topic may hold them: retried events, and stretches written a second time."""
    count = draw(st.integers(1, 40))
    users = draw(st.lists(st.sampled_from(["ann", "bob", "cy"]), min_size=count, max_size=count))
    late = draw(st.lists(st.integers(0, 20), min_size=count, max_size=count))
    events = draw(st.lists(st.one_of(st.none(), st.sampled_from(["x", "y"])), min_size=count, max_size=count))
    signals = [
        a_signal(BASIS, offset, user=user, event=event, at_ms=NOON_MS + days * DAY_MS)
        for offset, (user, days, event) in enumerate(zip(users, late, events, strict=True))
    ]
    for _ in range(draw(st.integers(0, 2))):
        end = draw(st.integers(1, len(signals)))
        start = draw(st.integers(0, end - 1))
        signals[end:end] = signals[start:end]
    return signals


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(topics(), st.data())
def test_what_is_stored_does_not_depend_on_how_signals_fell_into_batches(
    redis_client: Redis, signals: list[Signal], data: st.DataObject
) -> None:
    values = encoded(signals)
    redis_client.flushdb()
    learner = learner_on(redis_client)
    for value in values:
        learner.learn([value])
    one_by_one = everything(redis_client)

    redis_client.flushdb()
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(values) - 1)), max_size=6)))
    for start, end in zip([0, *cuts], [*cuts, len(values)], strict=True):
        learner.learn(values[start:end])
    assert everything(redis_client) == one_by_one


def test_a_large_batch_of_many_users_equals_one_by_one(redis_client: Redis) -> None:
    rng = np.random.default_rng(3)
    users = [f"user{number}" for number in rng.zipf(1.5, size=250) % 41]
    values = encoded([a_signal(BASIS, offset, user=user) for offset, user in enumerate(users)])
    learner = learner_on(redis_client)
    learner.learn(values)
    at_once = everything(redis_client)
    redis_client.flushdb()
    for value in values:
        learner.learn([value])
    assert everything(redis_client) == at_once
