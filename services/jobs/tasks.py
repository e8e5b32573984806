"""The jobs as Celery runs them: each reads the settings, does its work within its limits, and sets its metrics."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpx
import structlog
from celery.exceptions import Reject
from kafka.errors import KafkaError

from jobs import metrics
from jobs.basis_build import BuildFailed, BuildOptions, FactorsOptions, fit_basis, fit_factors
from jobs.census import take_census
from jobs.crowd import CrowdShares
from jobs.kafka_disk import DiskUse, disk_use
from jobs.limits import Interrupted, JobLimits, TookTooLong
from jobs.pregeneration import GenerationBusy, Pregeneration, only_one
from jobs.redis_clients import connected, live_archive
from jobs.settings import JobsSettings
from jobs.snapshots import SnapshotRefused, take_snapshot
from slop.basis import Basis
from slop.redis.crowd import write_crowd
from slop.redis.parking import all_parked

PROGRESS: Final = "PROGRESS"
BUILD_RETRIES: Final = 2
BUILD_RETRY_S: Final = 30

Build = Callable[[str, JobsSettings, JobLimits, Callable[[str], None]], Basis]

STOPPING: Final = threading.Event()  # set when the worker stops

log = structlog.get_logger(__name__)


def census() -> None:
    """Look how full Kafka's disks are, count all profiles, and find out what all readers like."""
    settings = JobsSettings()
    metrics.show_disk_use(_disk_use(settings))
    limits = JobLimits(settings.snapshot_timeout_s, STOPPING)
    with live_archive(settings) as (archive, basis), _again_if_interrupted():
        crowd = CrowdShares(basis.size, basis.dimensions)
        metrics.show_census(take_census(archive, crowd, round(1_000 * time.time()), limits))
        with connected(settings.redis_url, settings) as redis:
            for tenant, share in crowd.means():
                write_crowd(redis, basis.version, tenant, share)


def pregenerate() -> None:
    """Fill the queues of posts of active readers, unless another worker does."""
    settings = JobsSettings()
    if not settings.pregeneration_posts:
        return
    limits = JobLimits(settings.pregeneration_timeout_s, STOPPING)
    with (
        live_archive(settings) as (archive, basis),
        connected(settings.redis_url, settings) as redis,
        only_one(redis, settings.pregeneration_timeout_s + settings.pregeneration_request_timeout_s) as mine,
        _again_if_interrupted(),
    ):
        if mine:
            _fill(Pregeneration(redis, archive, basis, settings), settings, limits)


def _fill(pregeneration: Pregeneration, settings: JobsSettings, limits: JobLimits) -> None:
    with httpx.Client(
        base_url=settings.jobs_generation_url, timeout=settings.pregeneration_request_timeout_s, trust_env=False
    ) as client:
        try:
            pregeneration.fill(client, limits)
        except GenerationBusy as error:
            log.info("queues stay as they are", reason=str(error))
        except TookTooLong:
            log.info("queues are filled on by the next job")


def _disk_use(settings: JobsSettings) -> dict[int, DiskUse]:
    """The use of each broker's disks; empty while Kafka is away, or where it can't tell."""
    try:
        return disk_use(settings.kafka_bootstrap)
    except KafkaError as error:
        log.info("kafka's disks are not known", error=f"{type(error).__name__}: {error}")
        return {}


def snapshot_profiles() -> dict[str, Any]:
    """Take a snapshot of all profiles; returns its path and how many there are.

    Raises:
        jobs.snapshots.SnapshotRefused: far fewer profiles are left than there were; the older snapshots are kept.
    """
    settings = JobsSettings()
    limits = JobLimits(settings.snapshot_timeout_s, STOPPING)
    with (
        live_archive(settings) as (archive, basis),
        connected(settings.redis_url, settings) as redis,
        _again_if_interrupted(),
    ):
        folder, kept, share = settings.snapshots_dir, settings.snapshots_kept, settings.snapshot_least_share
        try:
            snapshot = take_snapshot(archive, basis.version, folder, kept, limits, share, all_parked(redis))
        except SnapshotRefused as error:
            metrics.SNAPSHOT_REFUSED.inc()
            log.error("snapshot refused", reason=str(error))
            raise
    metrics.show_snapshot(snapshot)
    log.info("snapshot taken", profiles=snapshot.profiles, path=str(snapshot.path) if snapshot.profiles else None)
    return {"profiles": snapshot.profiles, "path": str(snapshot.path) if snapshot.profiles else None}


def build_basis(task: Any, **options: Any) -> dict[str, Any]:
    """Build a basis (see `jobs.basis_build`); returns its version and folder. `task` is Celery's.

    Args:
        task: this attempt, whose state tells the progress.
        options: of `jobs.basis_build.BuildOptions`.
    """
    chosen = BuildOptions(**options)
    return _built(task, lambda job, settings, limits, report: fit_basis(job, settings, chosen, limits, report))


def build_factors(task: Any, **options: Any) -> dict[str, Any]:
    """Fit factors to the log (see `jobs.basis_build`); returns the new basis' version and folder.

    Args:
        task: this attempt, whose state tells the progress.
        options: of `jobs.basis_build.FactorsOptions`.
    """
    chosen = FactorsOptions(**options)
    return _built(task, lambda job, settings, limits, report: fit_factors(job, settings, chosen, limits, report))


def _built(task: Any, build: Build) -> dict[str, Any]:
    settings = JobsSettings()
    limits = JobLimits(settings.fit_basis_timeout_s, STOPPING)

    def report(line: str) -> None:
        log.info("building a basis", job=task.request.id, progress=line)
        task.update_state(state=PROGRESS, meta={"progress": line})

    try:
        with _again_if_interrupted():
            basis = build(task.request.id, settings, limits, report)
    except BuildFailed as error:
        raise task.retry(exc=error, countdown=BUILD_RETRY_S, max_retries=BUILD_RETRIES) from error
    folder = settings.bases_dir / basis.version
    log.info("basis built", version=basis.version, folder=str(folder))
    return {"basis": basis.version, "folder": str(folder), "prompts": basis.size}


@contextmanager
def _again_if_interrupted() -> Iterator[None]:
    """Give a job back to its queue if the worker stops meanwhile."""
    try:
        yield
    except Interrupted as error:
        raise Reject("the worker stops", requeue=True) from error
