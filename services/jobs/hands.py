"""Whether the worker takes jobs that wait: it may hang beside queues that grow, and answer all the same."""

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


class Hands:
    """How many jobs the worker's threads are at, told by Celery's signals from these threads."""

    def __init__(self, threads: int) -> None:
        """All are free."""
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
        """How many jobs were begun since it was looked before, and whether a thread is free."""
        with self._lock:
            begun, self._begun = self._begun, 0
            return begun, self._busy < self._threads


class Queues:
    """Looks every few seconds whether jobs wait though a thread is free, and whether they get fewer."""

    def __init__(self, hands: Hands, waiting: Callable[[], int], progress: Progress) -> None:
        """`waiting` counts the jobs that wait; it may raise RedisError."""
        self._hands, self._waiting, self._progress = hands, waiting, progress
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
        """Look once; a job that nobody could take waits for no fault of the worker's."""
        waiting = self._waiting()
        begun, free = self._hands.look()
        self._progress.came_round(begun + max(0, self._waited - waiting), waiting if free else 0)
        self._waited = waiting


def waiting_in(broker: Redis, queues: list[str]) -> Callable[[], int]:
    """Counts the jobs in queues."""
    return lambda: sum(int(broker.llen(queue)) for queue in queues)
