"""Redis is killed under load, and comes back without its last writes: profiles are those of a clean replay."""

import random
import shutil
import threading
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from redis import Redis

from slop.basis import Basis
from slop.kafka.kept_offsets import kept_key
from slop.kafka.topics import SIGNALS
from slop.v1.signal_pb2 import Signal
from tests.basis import random_basis
from tests.learners import Lag, LearnerProcess, everything, publish, wait_until
from tests.servers import KafkaServer, Server, redis_server
from tests.signals import a_signal

HARMED, AT_ONCE, USERS = 3, 60, 40


@pytest.fixture
def basis(tmp_path: Path) -> Basis:
    basis = random_basis(seed=uuid4().int % 2**32)
    basis.save(tmp_path / "basis")
    return basis


class Writer:
    """Writes signals, so many at once and without an end, from a thread of its own."""

    def __init__(self, bootstrap: str, basis: Basis) -> None:
        self._bootstrap, self._basis = bootstrap, basis
        self._offsets, self._rng, self._stop = Counter[int](), random.Random(14), threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.ends: dict[int, int] = {}

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            self.ends |= publish(self._bootstrap, [self._signal() for _ in range(AT_ONCE)])

    def _signal(self) -> Signal:
        user = f"user{self._rng.randrange(USERS)}"
        partition = zlib.crc32(user.encode()) % SIGNALS.partitions
        offset = self._offsets[partition]
        self._offsets[partition] += 1
        return a_signal(self._basis, offset, user=user, partition=partition)


def learned(redis: Redis, group: str) -> int:
    """How far a group has got, over all partitions."""
    kept = redis.hgetall(kept_key(group))
    return sum(int(value.split()[1]) for field, value in kept.items() if field.startswith(SIGNALS.name.encode()))


@dataclass
class UnderLoad:
    """A learner's Redis, and what is written to its log meanwhile."""

    folder: Path
    broker: str
    group: str
    data: Path
    server: Server
    redis: Redis
    writer: Writer

    def learns_more(self) -> None:
        """Wait until more is learned than now."""
        start = learned(self.redis, self.group)
        wait_until(lambda: learned(self.redis, self.group) > start)

    def loses_writes(self) -> None:
        """Kill Redis, and have it come back with what was on disk a while ago."""
        copy = self.folder / f"copy-{uuid4().hex[:8]}"
        shutil.copytree(self.data, copy)
        known = learned(self.redis, self.group)
        with Lag(self.broker, self.group, dict(self.writer.ends)) as lag:
            committed = lag.total - lag()
            wait_until(lambda: lag.total - lag() > committed)
        wait_until(lambda: learned(self.redis, self.group) > known + AT_ONCE)
        self.server.kill()
        shutil.rmtree(self.data)
        shutil.copytree(copy, self.data)
        self.server.start()
        assert learned(self.redis, self.group) <= known

    def is_emptied(self) -> None:
        """Empty Redis within its run, and wait until all that was learned before is learned again."""
        known = learned(self.redis, self.group)
        self.redis.flushall()
        wait_until(lambda: learned(self.redis, self.group) > known)


@pytest.mark.parametrize("harm", [UnderLoad.loses_writes, UnderLoad.is_emptied], ids=["killed", "emptied"])
def test_a_redis_that_loses_what_it_was_told_under_load_leaves_the_profiles_of_a_clean_replay(
    fresh_kafka: KafkaServer, tmp_path: Path, basis: Basis, harm: Callable[[UnderLoad], None]
) -> None:
    broker, group, data = fresh_kafka.bootstrap, f"killed-{uuid4().hex[:8]}", tmp_path / "data"
    server, url = redis_server(tmp_path, data)
    calm_folder = tmp_path / "calm"
    calm_folder.mkdir()
    calm, calm_url = redis_server(calm_folder)
    server.start()
    calm.start()
    writer = Writer(broker, basis)
    publish(broker, [])
    try:
        with (
            LearnerProcess(tmp_path, broker, url, group) as learner,
            Redis.from_url(url, socket_timeout=5) as redis,
            Redis.from_url(calm_url, socket_timeout=5) as clean,
        ):
            writer.start()
            under_load = UnderLoad(tmp_path, broker, group, data, server, redis, writer)
            for _ in range(HARMED):
                under_load.learns_more()
                harm(under_load)
            writer.stop()
            with Lag(broker, group, writer.ends) as lag:
                wait_until(lambda: lag() == 0)
            assert learner.metric("slop_learner_unexplained_replays_total") == 0
            found = everything(redis)
            calm_group = f"calm-{uuid4().hex[:8]}"
            with (
                LearnerProcess(tmp_path, broker, calm_url, calm_group, learner_instance="calm"),
                Lag(broker, calm_group, writer.ends) as lag,
            ):
                wait_until(lambda: lag() == 0)
            assert everything(clean) == found
            assert len(found) > USERS
    finally:
        writer.stop()
        server.stop()
        calm.stop()
