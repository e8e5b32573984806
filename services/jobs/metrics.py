"""The metrics of the worker, which it serves at `/metrics`."""

import math
import threading
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from prometheus_client import Counter, Gauge, Histogram
from redis import Redis
from redis.exceptions import RedisError

from jobs.census import AGES, INTERACTIONS, Census
from jobs.kafka_disk import DiskUse
from jobs.names import QUEUES, TASKS
from jobs.snapshots import Snapshot

JOB_SECONDS: Final = Histogram(
    "slop_job_seconds",
    "From a job's start to its end.",
    ["task"],
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 300, 600, 1_200, 2_400, 3_600, 7_200),
)
JOBS: Final = Counter(
    "slop_jobs_total", "Jobs by how they ended; one that is to be done again is a retry.", ["task", "outcome"]
)
WAITING: Final = Gauge("slop_jobs_waiting", "Jobs that no worker has taken yet.", ["queue"])
PROFILES: Final = Gauge("slop_profiles", "Profiles by their number of interactions.", ["interactions"])
UPDATED: Final = Gauge("slop_profiles_updated", "Profiles by the age of their last interaction.", ["age"])
CENSUS_AT: Final = Gauge("slop_census_timestamp_seconds", "When the profiles were last counted, Unix time.")
KAFKA_DISK: Final = Gauge(
    "slop_kafka_disk_bytes",
    "Of each broker: its logs' size (log), and the size of their volumes (total) and what is free there (usable).",
    ["broker", "kind"],
)
SNAPSHOT_AT: Final = Gauge("slop_snapshot_timestamp_seconds", "When the last snapshot was begun, Unix time.")
SNAPSHOT_REFUSED: Final = Counter(
    "slop_snapshot_refused", "Snapshots that were refused, since far fewer profiles were left than in the one before."
)
SNAPSHOT_PROFILES: Final = Gauge("slop_snapshot_profiles", "Profiles in the last snapshot.")
FEED_POSTS: Final = Counter("slop_feed_written_posts", "Posts written ahead, into the queues of active readers.")
FEED_ACTIVE: Final = Gauge("slop_feed_active_readers", "Readers who asked for posts of the feed lately.")
FEED_LOW: Final = Gauge("slop_feed_low_queues", "Active readers whose queue is to be filled, at the last look.")

_OUTCOMES: Final = {"SUCCESS": "success", "FAILURE": "failure", "RETRY": "retry", "REJECTED": "retry"}

for _task in TASKS:
    JOB_SECONDS.labels(_task)
    for _outcome in _OUTCOMES.values():
        JOBS.labels(_task, _outcome)
for _bin in INTERACTIONS:
    PROFILES.labels(_bin)
for _age in AGES:
    UPDATED.labels(_age)


class JobTimer:
    """Receives Celery's signals of a task's start and end, from the threads that run tasks."""

    def __init__(self) -> None:
        self._begun = threading.local()

    def begin(self, **_: Any) -> None:
        """A task begins in this thread."""
        self._begun.at = time.monotonic()

    def end(self, task: Any, state: str | None = None, **_: Any) -> None:
        """The task of this thread has ended."""
        if task.name not in TASKS:
            return
        JOB_SECONDS.labels(task.name).observe(time.monotonic() - self._begun.at)
        JOBS.labels(task.name, _OUTCOMES.get(state or "", "failure")).inc()


def show_census(census: Census) -> None:
    """Show the profiles as they were counted now."""
    for name, count in census.interactions.items():
        PROFILES.labels(name).set(count)
    for name, count in census.ages.items():
        UPDATED.labels(name).set(count)
    CENSUS_AT.set_to_current_time()


def show_disk_use(brokers: Mapping[int, DiskUse]) -> None:
    """Show the brokers' disks as they are now; a size that a broker does not tell has no series."""
    KAFKA_DISK.clear()
    for broker, use in brokers.items():
        for kind, size in (("log", use.log), ("total", use.total), ("usable", use.usable)):
            if size is not None:
                KAFKA_DISK.labels(broker, kind).set(size)


def show_snapshot(snapshot: Snapshot) -> None:
    """Show the last snapshot."""
    SNAPSHOT_AT.set(snapshot.begun.timestamp())
    SNAPSHOT_PROFILES.set(snapshot.profiles)


def watch_queues(broker: Redis) -> None:
    """Show how many jobs wait in each queue; nothing while Redis does not answer."""
    for queue in QUEUES:
        WAITING.labels(queue).set_function(partial(_length, broker, queue))


def _length(broker: Redis, queue: str) -> float:
    try:
        return int(broker.llen(queue))
    except RedisError:
        return math.nan
