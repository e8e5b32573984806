"""What many readers cost in Redis: bytes a reader, and how long a profile takes to be read beside few readers.

    python -m loadtests.bench_profiles

It starts a Redis of its own, on loopback, as `make up` does. It stores profiles of so many readers in one database, and
of FEW readers in another; in a third it learns reactions of FEW readers. Then it reads profiles as generation does, one
from each of the first two databases in turn.
"""

import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from redis import Redis
from rich.console import Console
from rich.progress import track
from rich.table import Table

from client.rest import batches
from infra.local.servers import redis_server
from learner.app import learner_of
from loadtests.bench_learner import signals
from loadtests.settings import BenchSettings
from slop.basis import Basis
from slop.kafka.topics import encode
from slop.profiles import Applied, Profile
from slop.redis.client import pooled_client, redis_client
from slop.redis.profiles import ProfileReader, profile_key

Seconds = npt.NDArray[np.float64]

FEW: Final = 1_000
ACTIVE: Final = 16
DIFFERENT: Final = 4_096
"""How many profiles differ; readers share them, since Redis stores each value anew."""
BATCH: Final = 2_000
TENANT: Final = "default"


@dataclass(frozen=True, slots=True)
class Lookups:
    """How long lookups took, (N,) float64 seconds, among few readers and among many."""

    few: Seconds
    many: Seconds


def user_id(number: int) -> str:
    """The id of a reader, as long as a UUID."""
    return f"{number:032x}"


def profiles(basis: Basis) -> list[bytes]:
    """Profiles as they are stored after 16 reactions: random means and variances."""
    rng, now_ms = np.random.default_rng(1), time.time_ns() // 1_000_000
    applied = (Applied(epoch=2**31, partition=3, offset=10**6),)  # all of a reader's events lie in one partition
    return [
        Profile(
            basis=basis.version,
            mean=rng.normal(size=basis.dimensions).astype(np.float32),
            variance=rng.uniform(0.1, 1.0, basis.dimensions).astype(np.float32),
            interactions=16,
            version=16,
            updated_at_ms=now_ms,
            applied=applied,
        ).to_bytes()
        for _ in range(DIFFERENT)
    ]


def store(redis: Redis, basis: Basis, readers: int, values: list[bytes]) -> float:
    """Store profiles of so many readers; returns bytes a reader by INFO memory."""
    before = redis.info("memory")["used_memory"]
    version = basis.version
    for some in track(range(0, readers, BATCH), f"storing {readers:,} readers", console=Console(stderr=True)):
        pipe = redis.pipeline(transaction=False)
        for number in range(some, min(some + BATCH, readers)):
            pipe.hset(profile_key(version, TENANT, user_id(number)), "profile", values[number % DIFFERENT])
        pipe.execute()
    return float(redis.info("memory")["used_memory"] - before) / readers


def learn(redis: Redis, basis: Basis, settings: BenchSettings) -> float:
    """Learn ACTIVE signals of each of FEW readers; returns bytes a reader by INFO memory, with what is remembered."""
    before = redis.info("memory")["used_memory"]
    asked = settings.model_copy(update={"bench_users": FEW, "bench_events": FEW * ACTIVE})
    learner = learner_of(settings, redis, basis)
    for some in batches(signals(asked, basis), settings.learner_batch):
        learner.learn([encode(signal) for signal in some])
    return float(redis.info("memory")["used_memory"] - before) / FEW


async def look_up(few: str, many: str, basis: Basis, readers: int, lookups: int) -> Lookups:
    """Read profiles of random readers from both databases in turn, as generation does."""
    rng = np.random.default_rng(2)
    clients = [pooled_client(url, timeout_s=5, connections=4) for url in (few, many)]
    sources = [ProfileReader(client, basis, TENANT) for client in clients]
    sizes = (FEW, readers)
    took = np.empty((2, lookups))
    for turn in range(-500, lookups):  # the first are not counted
        for which in (0, 1) if turn % 2 else (1, 0):
            name = user_id(int(rng.integers(sizes[which])))
            begun = time.perf_counter()
            found = await sources[which].profile(name)
            elapsed = time.perf_counter() - begun
            assert found is not None  # noqa: S101
            if turn >= 0:
                took[which, turn] = elapsed
    for client in clients:
        await client.aclose()
    return Lookups(*took)


def table(memory: float, active: float, lookups: Lookups, readers: int) -> Table:
    """All figures."""
    made = Table(
        title=f"{readers:,} readers in Redis: {memory:.0f} bytes each; {active:.0f} with what is remembered of one"
        f" who reacted {ACTIVE} times within the last days"
    )
    for head in ("lookup, ms", f"{FEW:,} readers", f"{readers:,} readers", "ratio"):
        made.add_column(head, justify="right")
    for percent in (50, 99):
        few, many = (float(np.percentile(some, percent)) for some in (lookups.few, lookups.many))
        made.add_row(f"p{percent}", f"{1_000 * few:.3f}", f"{1_000 * many:.3f}", f"{many / few:.2f}")
    return made


def main() -> None:
    """Store, look up, print."""
    settings = BenchSettings()
    basis, readers = Basis.load(settings.basis_dir), settings.bench_profiles
    with tempfile.TemporaryDirectory() as folder:
        server, url = redis_server(Path(folder))
        server.start()
        try:
            few = url.rsplit("/", 1)[0] + "/1"
            values = profiles(basis)
            with redis_client(few, 30) as small, redis_client(url, 30) as large:
                store(small, basis, FEW, values)
                memory = store(large, basis, readers, values)
                with redis_client(url.rsplit("/", 1)[0] + "/2", 30) as reacting:
                    active = learn(reacting, basis, settings)
            lookups = asyncio.run(look_up(few, url, basis, readers, settings.bench_lookups))
        finally:
            server.stop()
    Console().print(table(memory, active, lookups, readers))


if __name__ == "__main__":
    main()
