"""`python -m jobs worker` takes jobs from the queues until SIGTERM.

It is one process whose threads run the jobs, so that one registry of metrics sees all of them, and a census goes on
beside a build of an hour: the build's work is done by a process of its own, and the other jobs wait for Redis most
of the time.
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
from jobs.hands import Hands, Queues, waiting_in
from jobs.names import CENSUS, SNAPSHOT_PROFILES
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
    """Whether the worker has begun to take jobs, and what it does when it has."""

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
    readiness, timer, hands = Readiness(settings), metrics.JobTimer(), Hands(settings.worker_threads)
    for signal, receiver in (
        (signals.worker_ready, readiness.begin),
        (signals.worker_shutting_down, readiness.end),
        (signals.task_prerun, timer.begin),
        (signals.task_postrun, timer.end),
        (signals.task_prerun, hands.begin),
        (signals.task_postrun, hands.end),
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
        queues = Queues(hands, waiting_in(broker, settings.queues), progress)
        with health_server(settings.host, settings.worker_port, checks) as port, _looking(queues):
            log.info("worker started", port=port, queues=settings.queues)
            return _work(settings)


@contextmanager
def _looking(queues: Queues) -> Iterator[None]:
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
