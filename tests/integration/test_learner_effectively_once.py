"""The learner process, killed again and again, leaves every profile as if nothing had happened, bit for bit."""

import random
import zlib
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest
from redis import Redis

from slop.basis import Basis
from slop.kafka.topics import SIGNALS
from slop.profiles import Profile
from slop.v1.signal_pb2 import Signal
from tests.basis import random_basis
from tests.learners import Lag, LearnerProcess, everything, publish, wait_until
from tests.servers import apache_kafka_home
from tests.signals import DAY_MS, NOON_MS, a_signal

EVENTS, USERS = 3_000, 300
STEP_MS = (
    7 * DAY_MS // 20
)  # event ids are remembered for twenty signals, so that what is older must be told by its offset


@dataclass(frozen=True)
class Broker:
    """Where it is, the shortest session that it allows, and how often the learner is killed on it."""

    bootstrap: str
    session_ms: int
    kills: int


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> Broker:
    """Apache Kafka where there is one, else Tansu, where joining a group takes most of a session."""
    if apache_kafka_home() is None:
        return Broker(request.getfixturevalue("kafka_bootstrap"), session_ms=1_500, kills=3)
    return Broker(request.getfixturevalue("apache_kafka").bootstrap, session_ms=6_000, kills=3)


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
    recent: deque[tuple[str, str]] = deque(maxlen=20)
    offsets: Counter[int] = Counter()
    for number in range(EVENTS):
        user, event = f"user{int(rng.expovariate(3 / USERS)) % USERS}", f"event{number}"
        if recent and rng.random() < 0.05:
            user, event = rng.choice(recent)
        partition = zlib.crc32(user.encode()) % SIGNALS.partitions
        at_ms = NOON_MS + STEP_MS * number
        signals.append(a_signal(basis, offsets[partition], user=user, event=event, at_ms=at_ms, partition=partition))
        recent.append((user, event))
        offsets[partition] += 1
        if rng.random() < 0.01:
            signals += signals[-rng.randrange(1, 100) :]
    return signals


def counts(redis: Redis, basis: Basis) -> int:
    """Signals learned by all readers together."""
    profiles = [redis.hget(key, "profile") for key in redis.scan_iter("slop:profile:*")]
    return sum(Profile.from_bytes(cast("bytes", data), basis.dimensions).interactions for data in profiles)


def script_calls(redis: Redis) -> int:
    """Reads and writes of profiles since the statistics were reset."""
    calls: int = redis.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0)
    return calls


def test_a_learner_killed_many_times_leaves_the_bytes_of_one_that_never_was(
    broker: Broker, databases: list[tuple[str, Redis]], tmp_path: Path
) -> None:
    def learner_of(url: str, group: str, learner_batch: int = 1_000) -> LearnerProcess:
        settings = {"learner_batch": learner_batch, "kafka_session_timeout_ms": broker.session_ms}
        return LearnerProcess(tmp_path, broker.bootstrap, url, group, **settings)

    rng = random.Random(2024)
    basis = random_basis(seed=uuid4().int % 2**32)  # so that other tests' signals are of another one
    basis.save(tmp_path / "basis")
    signals = a_topic(basis, rng)
    ends = publish(broker.bootstrap, signals)
    (calm_url, calm), (killed_url, killed) = databases
    calm_group, killed_group, replay_group = (f"{name}-{uuid4().hex[:8]}" for name in ("calm", "killed", "replay"))

    with learner_of(calm_url, calm_group) as learner, Lag(broker.bootstrap, calm_group, ends) as lag:
        wait_until(lambda: lag() == 0)
        assert learner.stop() == 0
    expected = everything(calm)
    events = {signal.event_id for signal in signals}
    sources = {(signal.source.partition, signal.source.offset) for signal in signals}
    assert len(events) <= counts(calm, basis) < len(sources) < len(signals)

    with (
        learner_of(killed_url, killed_group, learner_batch=40) as learner,
        Lag(broker.bootstrap, killed_group, ends) as lag,
    ):
        for _ in range(broker.kills):
            killed.config_resetstat()
            calls = rng.randrange(20, 900)
            wait_until(lambda: script_calls(killed) >= calls, every_s=0)  # noqa: B023
            learner.kill()
            assert lag() > 0
            learner.start()
        wait_until(lambda: lag() == 0)
    assert everything(killed) == expected

    killed.flushdb()
    with (
        learner_of(killed_url, replay_group, learner_batch=333),
        Lag(broker.bootstrap, replay_group, ends) as lag,
    ):
        wait_until(lambda: lag() == 0)
    assert everything(killed) == expected
