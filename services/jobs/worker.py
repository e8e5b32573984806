"""`python -m jobs worker` takes jobs from the queues until SIGTERM.

It is one process whose threads run the jobs. So one registry has all metrics, and a census is taken while a basis is
built for an hour: the build's work is done in another process, and the other jobs mostly wait for Redis.
"""

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import structlog
from celery import signals

from jobs import metrics, tasks
from jobs.app import app
from jobs.names import CENSUS, SNAPSHOT_PROFILES
from jobs.queue_progress import BusyThreads, QueueProgress, waiting_in
from jobs.redis_clients import connected, live_archive
from jobs.settings import JobsSettings
from jobs.snapshots import snapshots
from kit.progress import Progress
from kit.worker import health_server, in_thread, worker_thread
from slop.basis import Basis, InvalidBasis
from slop.redis.writable import require_writable

OVERDUE: Final = timedelta(days=1)

log = structlog.get_logger(__name__)


class NotReady(RuntimeError):  # noqa: N818
    """The worker takes no jobs."""


class Readiness:
    """Whether the worker takes jobs; when it begins to, it sends itself those that are due."""

    def __init__(self, settings: JobsSettings) -> None:
        self._settings, self._ready = settings, threading.Event()

    def check(self) -> None:
        """Raise NotReady until the worker takes jobs."""
        if not self._ready.is_set():
            raise NotReady("the worker takes no jobs yet")

    def begin(self, **_signal: Any) -> None:
        """The worker takes jobs: count the profiles now, and make up for a snapshot that nobody was there to take."""
        self._ready.set()
        app.send_task(CENSUS, expires=self._settings.census_every_s)
        with live_archive(self._settings) as (_, basis):
            latest = snapshots(self._settings.snapshots_dir, basis.version)[:1]
        for snapshot in latest:
            metrics.show_snapshot(snapshot)
        if not latest or datetime.now(UTC) - latest[0].begun > OVERDUE:
            app.send_task(SNAPSHOT_PROFILES, expires=OVERDUE.total_seconds())

    def end(self, **_: Any) -> None:
        """The worker was told to stop: so are its jobs."""
        self._ready.clear()
        tasks.STOPPING.set()


def run(settings: JobsSettings) -> int:
    """Work until SIGTERM or SIGINT; returns the exit status.

    Raises:
        slop.basis.InvalidBasis: there is no usable basis.
        OSError: the port is taken, or the folder for snapshots can't be made.
    """
    Basis.load(settings.basis_dir)
    settings.jobs_dir.mkdir(parents=True, exist_ok=True)
    readiness, timer, threads = Readiness(settings), metrics.JobTimer(), BusyThreads(settings.worker_threads)
    for signal, receiver in (
        (signals.worker_ready, readiness.begin),
        (signals.worker_shutting_down, readiness.end),
        (signals.task_prerun, timer.begin),
        (signals.task_postrun, timer.end),
        (signals.task_prerun, threads.begin),
        (signals.task_postrun, threads.end),
    ):
        signal.connect(receiver, weak=False)
    with connected(settings.broker_url, settings) as broker, connected(settings.redis_url, settings) as profiles:
        metrics.watch_queues(broker)
        progress = Progress(settings.stalled_s)
        checks = {
            "broker": in_thread(partial(require_writable, broker, "worker")),
            "redis": in_thread(partial(require_writable, profiles, "worker")),
            "worker": in_thread(readiness.check),
            "progress": in_thread(progress.check),
        }
        queues = QueueProgress(threads, waiting_in(broker, settings.queues), progress)
        with health_server(settings.host, settings.worker_port, checks) as port, _looking(queues):
            log.info("worker started", port=port, queues=settings.queues)
            return _work(settings)


@contextmanager
def _looking(queues: QueueProgress) -> Iterator[None]:
    """Looks at the queues until the block ends."""
    stop = threading.Event()
    thread = worker_thread("queues", queues.run, stop)
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _work(settings: JobsSettings) -> int:
    worker = app.Worker(
        pool="threads",
        concurrency=settings.worker_threads,
        queues=settings.queues,
        hostname=f"worker@{socket.gethostname()}",
        loglevel=settings.log_level,
        quiet=True,
        without_gossip=True,
        without_mingle=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


def main(settings: JobsSettings) -> None:
    """Run the process."""
    try:
        sys.exit(run(settings))
    except (InvalidBasis, OSError) as error:
        sys.exit(f"worker: {error}")
