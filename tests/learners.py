"""Learner processes that tests start, kill and wait for."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import httpx
from kafka import KafkaConsumer, KafkaProducer
from kafka.structs import TopicPartition
from redis import Redis

from infra.local.ports import free_port
from slop.kafka.brokers import create_topics
from slop.kafka.topics import SIGNALS, encode, key_of
from slop.v1.signal_pb2 import Signal

ROOT = Path(__file__).resolve().parents[1]


def wait_until(condition: Callable[[], bool], timeout_s: float = 60.0, every_s: float = 0.02) -> None:
    """Raise TimeoutError if the condition does not come true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(every_s)


class LearnerProcess:
    """`python -m learner`; it is killed, if still there, when its block ends."""

    def __init__(self, folder: Path, bootstrap: str, redis_url: str, group: str, **settings: object) -> None:
        """Its basis and its log are in `folder`; `settings` are names of the environment without the prefix."""
        self.port = free_port()
        self.log = folder / f"{group}.log"
        chosen = {
            "kafka_bootstrap": bootstrap,
            "redis_url": redis_url,
            "basis_dir": folder / "basis",
            "learner_group": group,
            "learner_instance": "only",
            "learner_port": self.port,
        }
        environment = {f"SLOP_{name.upper()}": str(value) for name, value in (chosen | settings).items()}
        self._environment = os.environ | {"PYTHONPATH": str(ROOT / "services")} | environment
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, without waiting for anything."""
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "learner"]
            self._process = subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=log, stderr=log)

    def kill(self) -> None:
        """End it as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=20)

    def stop(self) -> int:
        """End it politely; returns its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=20)

    @property
    def running(self) -> bool:
        """Whether it lives."""
        return self._process is not None and self._process.poll() is None

    def readiness(self) -> dict[str, str]:
        """What /readyz says of each dependency; empty while nobody answers there."""
        try:
            checks: dict[str, str] = httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=5).json()["checks"]
        except httpx.TransportError:
            return {}
        return checks

    def metric(self, line: str) -> float:
        """The value of a line of /metrics."""
        text = httpx.get(f"http://127.0.0.1:{self.port}/metrics", timeout=5).text
        return next(float(value) for name, value in (x.rsplit(" ", 1) for x in text.splitlines()) if name == line)


def publish(bootstrap: str, signals: Sequence[Signal]) -> dict[int, int]:
    """Write signals to their topic, in this order; returns the partitions' ends, which Tansu tells only later."""
    create_topics(bootstrap)
    producer = KafkaProducer(bootstrap_servers=bootstrap, linger_ms=5)
    try:
        futures = [producer.send(SIGNALS.name, key=key_of(signal), value=encode(signal)) for signal in signals]
        written = [future.get(timeout=30) for future in futures]
    finally:
        producer.close(timeout=5)
    return {record.partition: record.offset + 1 for record in written}


class Lag:
    """How many records up to the ends of the partitions a group has not committed yet."""

    def __init__(self, bootstrap: str, group: str, ends: Mapping[int, int]) -> None:
        self._consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
        self._ends = {TopicPartition(SIGNALS.name, number): end for number, end in ends.items()}
        self.total = sum(ends.values())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def __call__(self) -> int:
        """The lag now."""
        return sum(max(0, end - (self._consumer.committed(at) or 0)) for at, end in self._ends.items())


def everything(redis: Redis) -> dict[bytes, object]:
    """All that is learned, by key: profiles with their sources, and the events and decisions that are remembered."""
    profiles = {key: redis.hgetall(key) for key in sorted(redis.keys("slop:profile:*"))}
    return profiles | {key: redis.get(key) for key in sorted(redis.keys("slop:recent:*"))}
