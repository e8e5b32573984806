"""How many events a second the learner takes on one core, from Kafka to Redis, beside bare consuming and writing.

    python -m loadtests.bench_learner

It starts a broker (Apache Kafka where there is one, else Tansu) and a Redis of its own, on loopback. The learner and a
bare loop read the same records in batches of the same size. Both write one value of a profile's size for every user of
a batch in one round trip, and commit after each batch; the bare loop does nothing else.
"""

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from uuid import uuid4

import numpy as np
from redis import Redis

from client.rest import batches
from infra.local.servers import ApacheKafka, apache_kafka_home, redis_server, tansu_server
from learner.app import Worker, learner_of
from loadtests.settings import BenchSettings
from slop.basis import Basis
from slop.kafka.durability import DurableCommits, WhenLost
from slop.kafka.outbox import Outbox
from slop.kafka.records import ProducerRecord
from slop.kafka.subscription import Subscription
from slop.kafka.topics import SIGNALS, encode, key_of
from slop.profiles import Profile
from slop.redis.profiles import profile_key
from slop.v1.signal_pb2 import Signal, Source

A_SEND = 1_000  # signals that are published together


def signals(settings: BenchSettings, basis: Basis) -> list[Signal]:
    """Signals of random readers, each with random features of about unit norm."""
    rng = np.random.default_rng(1)
    users = rng.integers(settings.bench_users, size=settings.bench_events)
    features = rng.normal(size=(settings.bench_events, basis.feature_count)) / np.sqrt(basis.feature_count)
    now_ms = time.time_ns() // 1_000_000
    return [
        Signal(
            event_id=str(uuid4()),
            tenant="default",
            user_id=f"user-{user:08d}",
            post_id=f"post-{offset:08d}",
            source=Source(partition=int(user) % SIGNALS.partitions, offset=offset),
            received_at_ms=now_ms + offset,
            basis=basis.version,
            features=row,
            label=float(offset % 2),
            weight=1.0,
        )
        for offset, (user, row) in enumerate(zip(users, features, strict=True))
    ]


def publish(settings: BenchSettings, content: Sequence[Signal]) -> None:
    """Write signals to their topic, in this order."""
    outbox = Outbox(settings)
    try:
        for some in batches(content, A_SEND):
            outbox.publish([ProducerRecord(SIGNALS, key_of(signal), encode(signal)) for signal in some])
    finally:
        outbox.close()


class Bare:
    """The bare loop: consume, write bytes, commit."""

    def __init__(self, subscription: Subscription, redis: Redis, settings: BenchSettings, value: bytes) -> None:
        self._subscription, self._redis, self._settings, self._value = subscription, redis, settings, value

    def step(self) -> int:
        """One batch; returns how many records it had."""
        records = self._subscription.poll(self._settings.learner_wait_s, self._settings.learner_batch)
        pipe = self._redis.pipeline(transaction=False)
        for key in {record.key for record in records}:
            pipe.hset(profile_key("bare", "default", (key or b"").decode()), "profile", self._value)
        pipe.execute()
        if records:
            self._subscription.commit()
        return len(records)


def rate(step: Callable[[], int], events: int) -> float:
    """Events a second, from the end of the first batch, which waits for the group, to the last commit."""
    first = 0
    while not first:
        first = step()
    done, started = first, time.perf_counter()
    while done < events:
        done += step()
    return (done - first) / (time.perf_counter() - started)


@contextmanager
def fresh_group(settings: BenchSettings, redis: Redis) -> Iterator[Subscription]:
    """A group that has read nothing yet, and an empty Redis."""
    redis.flushdb()
    with closing(Subscription(settings, f"bench-{uuid4().hex[:8]}", [SIGNALS])) as subscription:
        yield subscription


def rate_of_learner(settings: BenchSettings, redis: Redis) -> float:
    """Events a second of the learner, with all that its process does."""
    stop = threading.Event()
    with fresh_group(settings, redis) as subscription:
        commits = DurableCommits(subscription, redis, WhenLost.BEGINNING, settings.redis_persisted_after_s)
        worker = Worker(commits, learner_of(settings, commits.redis, Basis.load(settings.basis_dir)), settings)
        return rate(lambda: worker.step(stop), settings.bench_events)


def rate_of_bare(settings: BenchSettings, redis: Redis, value: bytes) -> float:
    """Events a second of the bare loop."""
    with fresh_group(settings, redis) as subscription:
        return rate(Bare(subscription, redis, settings, value).step, settings.bench_events)


def measure(settings: BenchSettings, redis: Redis, value: bytes) -> None:
    """Measure both in turns and print the rates."""
    learner, bare = [], []
    for turn in range(settings.bench_repetitions):
        bare.append(rate_of_bare(settings, redis, value))
        learner.append(rate_of_learner(settings, redis))
        print(f"{turn + 1}: bare {bare[-1]:8,.0f} events/s   learner {learner[-1]:8,.0f} events/s", flush=True)
    ratios = [a / b for a, b in zip(learner, bare, strict=True)]
    print(f"median: bare {statistics.median(bare):,.0f} events/s, learner {statistics.median(learner):,.0f} events/s")
    print(f"learner / bare: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def one_core() -> str:
    """Keep this process on one core, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        return "not pinned to a core"
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return f"on core {core}"


def main() -> None:
    """Start the servers, fill the topic, measure."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        home = apache_kafka_home()
        broker = tansu_server(folder) if home is None else ApacheKafka(home, folder)
        store, redis_url = redis_server(folder)
        for server in (broker, store):
            stack.callback(server.stop)
            server.start()
        settings = BenchSettings(kafka_bootstrap=broker.bootstrap, redis_url=redis_url, learner_instance="")
        basis = Basis.load(settings.basis_dir)
        publish(settings, signals(settings, basis))
        value = Profile.new(basis.version, basis.prior(1.0, 0.5, 1.0)).to_bytes()
        print(
            f"{settings.bench_events:,} signals of {settings.bench_users:,} users, K = {basis.size}, batches of up to"
            f" {settings.learner_batch}, profiles of {len(value)} bytes, {'Tansu' if home is None else 'Apache Kafka'},"
            f" {one_core()}"
        )
        redis = stack.enter_context(Redis.from_url(redis_url, socket_timeout=settings.learner_redis_timeout_s))
        measure(settings, redis, value)


if __name__ == "__main__":
    main()
