"""Whether the worker takes the jobs that wait: a worker that hangs still answers, while its queues grow."""

import threading
from collections.abc import Callable
from typing import Any, Final

import structlog
from redis import Redis
from redis.exceptions import RedisError

from jobs.names import TASKS
from kit.progress import Progress

LOOK_S: Final = 5.0

log = structlog.get_logger(__name__)


class BusyThreads:
    """How many of the worker's threads run a job, by Celery's signals, which come from these threads."""

    def __init__(self, threads: int) -> None:
        """All threads are free."""
        self._threads, self._busy, self._begun, self._lock = threads, 0, 0, threading.Lock()

    def begin(self, task: Any, **_: Any) -> None:
        """A thread begins with a job."""
        if task.name in TASKS:
            with self._lock:
                self._busy += 1
                self._begun += 1

    def end(self, task: Any, **_: Any) -> None:
        """A thread has ended a job."""
        if task.name in TASKS:
            with self._lock:
                self._busy -= 1

    def look(self) -> tuple[int, bool]:
        """How many jobs were begun since the last call, and whether a thread is free."""
        with self._lock:
            begun, self._begun = self._begun, 0
            return begun, self._busy < self._threads


class QueueProgress:
    """Looks every LOOK_S seconds whether jobs are taken.

    There is no progress if jobs wait and a thread is free, but none was begun and no fewer wait than before.
    """

    def __init__(self, busy: BusyThreads, waiting: Callable[[], int], progress: Progress) -> None:
        """`waiting` counts the jobs that wait; it may raise RedisError."""
        self._busy_threads, self._waiting, self._progress = busy, waiting, progress
        self._waited = 0

    def run(self, stop: threading.Event) -> None:
        """Look until `stop` is set."""
        while not stop.is_set():
            try:
                self.step()
            except RedisError as error:
                log.warning("can't see which jobs wait", error=f"{type(error).__name__}: {error}")
            stop.wait(LOOK_S)

    def step(self) -> None:
        """Look once. While all threads are busy, jobs that wait do not count: nobody could take them."""
        waiting = self._waiting()
        begun, free = self._busy_threads.look()
        self._progress.came_round(begun + max(0, self._waited - waiting), waiting if free else 0)
        self._waited = waiting


def waiting_in(broker: Redis, queues: list[str]) -> Callable[[], int]:
    """Counts the jobs in queues."""
    return lambda: sum(int(broker.llen(queue)) for queue in queues)
