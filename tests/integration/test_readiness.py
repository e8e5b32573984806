"""A learner is ready while it gets on: on a real Redis that refuses writes, or hangs, and is well again."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from redis import Redis

from slop.basis import Basis
from slop.profiles import Profile
from slop.redis.profiles import profile_key
from tests.basis import random_basis
from tests.learners import LearnerProcess, publish, wait_until
from tests.servers import Server, redis_server
from tests.signals import a_signal

WELL = {"redis": "ok", "kafka": "ok", "progress": "ok"}


@pytest.fixture
def basis(tmp_path: Path) -> Basis:
    """A basis of this test alone, so that other tests' signals are of another one."""
    basis = random_basis(seed=uuid4().int % 2**32)
    basis.save(tmp_path / "basis")
    return basis


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[tuple[Server, str]]:
    """A Redis of this test alone, which runs, and its URL."""
    server, url = redis_server(tmp_path)
    server.start()
    yield server, url
    server.kill()


@pytest.fixture
def redis(own_redis: tuple[Server, str]) -> Iterator[Redis]:
    with Redis.from_url(own_redis[1], socket_timeout=10) as client:
        yield client


@pytest.fixture
def learner(
    own_redis: tuple[Server, str], kafka_bootstrap: str, basis: Basis, tmp_path: Path
) -> Iterator[LearnerProcess]:
    """A learner that is ready."""
    del basis  # it is where the learner finds it
    url = own_redis[1]
    with LearnerProcess(tmp_path, kafka_bootstrap, url, f"ready-{uuid4().hex[:8]}", stalled_s=2) as learner:
        wait_until(lambda: learner.readiness() == WELL)
        yield learner


def learned(redis: Redis, basis: Basis) -> int:
    """How many signals ann's profile has learned."""
    data = redis.hget(profile_key(basis.version, "default", "ann"), "profile")
    return Profile.from_bytes(data, basis.dimensions).interactions if isinstance(data, bytes) else 0


def ready_status(learner: LearnerProcess) -> int:
    return httpx.get(f"http://127.0.0.1:{learner.port}/readyz", timeout=10).status_code


@pytest.mark.parametrize(
    ("spoil", "mend", "reason"),
    [
        (["REPLICAOF", "127.0.0.1", "1"], ["REPLICAOF", "NO", "ONE"], "read only replica"),
        (["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"], "maxmemory"),
    ],
    ids=["a replica", "full"],
)
def test_a_redis_that_can_be_read_and_not_written_is_not_ready(
    learner: LearnerProcess, redis: Redis, spoil: list[str], mend: list[str], reason: str
) -> None:
    redis.execute_command(*spoil)
    assert redis.ping()
    wait_until(lambda: reason in learner.readiness()["redis"])
    assert ready_status(learner) == 503
    assert learner.metric("slop_ready") == 0
    redis.execute_command(*mend)
    wait_until(lambda: learner.readiness() == WELL)
    assert learner.metric("slop_ready") == 1


def test_a_worker_that_hangs_in_redis_has_stalled_until_it_gets_on(
    learner: LearnerProcess, own_redis: tuple[Server, str], redis: Redis, kafka_bootstrap: str, basis: Basis
) -> None:
    server, _ = own_redis
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        publish(kafka_bootstrap, [a_signal(basis, offset, user="ann") for offset in range(3)])
        wait_until(lambda: learner.readiness()["progress"].startswith("Stalled: nothing done for"))
        assert ready_status(learner) == 503
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    wait_until(lambda: learned(redis, basis) == 3)
    wait_until(lambda: learner.readiness() == WELL)
