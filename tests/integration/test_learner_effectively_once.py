"""The learner process, killed again and again, leaves every profile as if nothing had happened, bit for bit."""

import random
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest
from redis import Redis

from slop.basis import Basis
from slop.profiles import Profile
from slop.topics import SIGNALS
from slop.v1.signal_pb2 import Signal
from tests.basis import random_basis
from tests.learners import Lag, LearnerProcess, everything, publish, wait_until
from tests.servers import apache_kafka_home
from tests.signals import NOON_MS, a_signal

EVENTS, USERS, KILLS = 3_000, 300, 4


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> str:
    """Apache Kafka where there is one, else Tansu."""
    if apache_kafka_home() is None:
        return str(request.getfixturevalue("kafka_bootstrap"))
    return str(request.getfixturevalue("apache_kafka").bootstrap)


@pytest.fixture
def databases(redis_client: Redis, redis_url: str) -> Iterator[list[tuple[str, Redis]]]:
    """Two empty key spaces of one Redis, each with its URL."""
    del redis_client  # it has emptied them
    urls = [redis_url.rsplit("/", 1)[0] + f"/{number}" for number in (1, 2)]
    clients = [Redis.from_url(url, socket_timeout=5) for url in urls]
    yield list(zip(urls, clients, strict=True))
    for client in clients:
        client.close()


def a_topic(basis: Basis, rng: random.Random) -> list[Signal]:
    """Signals of some hundred users, with retried events and with stretches that a featurizer wrote twice."""
    signals: list[Signal] = []
    latest: dict[str, str] = {}
    offsets: Counter[int] = Counter()
    for number in range(EVENTS):
        user = f"user{int(rng.expovariate(3 / USERS)) % USERS}"
        partition = zlib.crc32(user.encode()) % SIGNALS.partitions
        event = latest[user] if user in latest and rng.random() < 0.1 else f"event{number}"
        at_ms = NOON_MS + 10 * number
        signals.append(a_signal(basis, offsets[partition], user=user, event=event, at_ms=at_ms, partition=partition))
        latest[user] = event
        offsets[partition] += 1
        if rng.random() < 0.01:
            signals += signals[-rng.randrange(1, 60) :]
    return signals


def counts(redis: Redis, basis: Basis) -> int:
    """Signals learned by all readers together."""
    profiles = [redis.hget(key, "profile") for key in redis.scan_iter("slop:profile:*")]
    return sum(Profile.from_bytes(cast("bytes", data), basis.dimensions).interactions for data in profiles)


def test_a_learner_killed_many_times_leaves_the_bytes_of_one_that_never_was(
    broker: str, databases: list[tuple[str, Redis]], tmp_path: Path
) -> None:
    rng = random.Random(2024)
    basis = random_basis(seed=uuid4().int % 2**32)  # so that other tests' signals are of another one
    basis.save(tmp_path / "basis")
    signals = a_topic(basis, rng)
    publish(broker, signals)
    (calm_url, calm), (killed_url, killed) = databases
    calm_group, killed_group, replay_group = (f"{name}-{uuid4().hex[:8]}" for name in ("calm", "killed", "replay"))

    with LearnerProcess(tmp_path, broker, calm_url, calm_group) as learner, Lag(broker, calm_group) as lag:
        wait_until(lambda: lag() == 0)
        assert learner.stop() == 0
    expected = everything(calm)
    assert counts(calm, basis) == len({signal.event_id for signal in signals})

    with (
        LearnerProcess(tmp_path, broker, killed_url, killed_group, learner_batch=40) as learner,
        Lag(broker, killed_group) as lag,
    ):
        for share in sorted((rng.uniform(0.1, 0.95) for _ in range(KILLS)), reverse=True):
            wait_until(lambda: lag() <= share * lag.total, every_s=0.005)  # noqa: B023
            learner.kill()
            assert lag() > 0
            learner.start()
        wait_until(lambda: lag() == 0)
    assert everything(killed) == expected

    killed.flushdb()
    with (
        LearnerProcess(tmp_path, broker, killed_url, replay_group, learner_batch=333),
        Lag(broker, replay_group) as lag,
    ):
        wait_until(lambda: lag() == 0)
    assert everything(killed) == expected
