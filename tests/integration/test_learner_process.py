"""The learner process while Redis or Kafka is away, and how it ends."""

from pathlib import Path
from uuid import uuid4

import pytest
from redis import Redis

from slop.basis import Basis
from slop.profiles import Profile
from slop.redis.profiles import profile_key
from tests.basis import random_basis
from tests.learners import Lag, LearnerProcess, publish, wait_until
from tests.servers import KafkaServer, redis_server
from tests.signals import NOON_MS, a_signal


@pytest.fixture
def basis(tmp_path: Path) -> Basis:
    """A basis of this test alone, so that other tests' signals are of another one."""
    basis = random_basis(seed=uuid4().int % 2**32)
    basis.save(tmp_path / "basis")
    return basis


@pytest.fixture
def group() -> str:
    return f"learner-{uuid4().hex[:8]}"


def learned(redis: Redis, basis: Basis, user: str = "ann") -> int:
    """How many signals a user's profile has learned."""
    data = redis.hget(profile_key(basis.version, "default", user), "profile")
    return Profile.from_bytes(data, basis.dimensions).interactions if isinstance(data, bytes) else 0


def is_ready(learner: LearnerProcess) -> bool:
    return learner.readiness() == {"redis": "ok", "kafka": "ok", "progress": "ok"}


def test_signals_become_a_profile_and_are_counted(
    kafka_bootstrap: str, redis_client: Redis, redis_url: str, tmp_path: Path, basis: Basis, group: str
) -> None:
    with LearnerProcess(tmp_path, kafka_bootstrap, redis_url, group) as learner:
        wait_until(lambda: is_ready(learner))
        signals = [a_signal(basis, offset) for offset in (0, 1, 0)]
        for signal, label in zip(signals, (1, 0, 1), strict=True):
            signal.arm, signal.label = "soft", label
        publish(kafka_bootstrap, signals)
        wait_until(lambda: learned(redis_client, basis) == 2)
        wait_until(lambda: learner.metric('slop_learner_signals_total{outcome="applied_before"}') == 1)
        assert learner.metric('slop_learner_signals_total{outcome="learned"}') == 2
        assert learner.metric("slop_learner_freshness_seconds_count") == 2
        assert learner.metric("slop_learner_last_received_seconds") == (NOON_MS + 1) / 1_000
        assert learner.metric('slop_learner_reactions_total{arm="soft",observed="liked"}') == 1
        assert learner.metric('slop_learner_reactions_total{arm="soft",observed="not_liked"}') == 1
        assert learner.metric('slop_learner_reactions_total{arm="base",observed="liked"}') == 0
        assert learner.metric('slop_learner_preference_count{observed="liked"}') == 1
        lag = f'slop_consumer_lag_records{{group="{group}",topic="slop.signals.v1"}}'
        wait_until(lambda: learner.metric(lag) == 0)


def test_signals_wait_while_redis_is_away_even_through_a_crash(
    fresh_kafka: KafkaServer, tmp_path: Path, basis: Basis, group: str
) -> None:
    server, url = redis_server(tmp_path)
    broker = fresh_kafka.bootstrap
    ends = publish(broker, [a_signal(basis, offset) for offset in range(3)])
    with LearnerProcess(tmp_path, broker, url, group) as learner, Lag(broker, group, ends) as lag:
        try:
            wait_until(lambda: learner.readiness().get("kafka") == "ok")
            wait_until(lambda: "poll signals" in learner.log.read_text())
            assert learner.readiness()["redis"] != "ok"
            learner.kill()
            assert lag() == lag.total == 3
            learner.start()
            server.start()
            with Redis.from_url(url, socket_timeout=5) as redis:
                wait_until(lambda: learned(redis, basis) == 3)
                wait_until(lambda: is_ready(learner))
        finally:
            server.stop()


def test_it_waits_for_kafka_and_survives_its_crash(
    apache_kafka: KafkaServer, redis_client: Redis, redis_url: str, tmp_path: Path, basis: Basis, group: str
) -> None:
    apache_kafka.kill()
    with LearnerProcess(tmp_path, apache_kafka.bootstrap, redis_url, group) as learner:
        wait_until(lambda: learner.readiness().get("redis") == "ok")
        assert learner.readiness()["kafka"] != "ok"
        apache_kafka.start()
        publish(apache_kafka.bootstrap, [a_signal(basis, 0)])
        wait_until(lambda: learned(redis_client, basis) == 1)

        apache_kafka.kill()
        wait_until(lambda: learner.readiness()["kafka"] != "ok")
        apache_kafka.start()
        publish(apache_kafka.bootstrap, [a_signal(basis, 1)])
        wait_until(lambda: learned(redis_client, basis) == 2)
        wait_until(lambda: is_ready(learner))
        assert learner.running


def test_it_stops_politely_while_everything_is_away(tmp_path: Path, basis: Basis, group: str) -> None:
    assert basis.size
    with LearnerProcess(tmp_path, "127.0.0.1:1", "redis://127.0.0.1:1/0", group) as learner:
        wait_until(lambda: "retrying" in learner.log.read_text())
        assert learner.stop() == 0
    assert "learner stopped" in learner.log.read_text()


def test_without_a_basis_it_says_how_to_build_one(tmp_path: Path, group: str) -> None:
    with LearnerProcess(tmp_path, "127.0.0.1:1", "redis://127.0.0.1:1/0", group) as learner:
        wait_until(lambda: not learner.running)
    assert "make basis" in learner.log.read_text().splitlines()[-1]
