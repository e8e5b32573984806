from types import SimpleNamespace

import pytest

from jobs.names import CENSUS
from jobs.queue_progress import BusyThreads, QueueProgress
from kit.progress import Progress, Stalled

JOB, OTHER = SimpleNamespace(name=CENSUS), SimpleNamespace(name="celery.chord")


class Worker:
    """A worker's queues, looked at a second after the other, with a limit of three."""

    def __init__(self, threads: int) -> None:
        self.busy, self.waiting, self._now_s = BusyThreads(threads), 0, 0.0
        self._progress = Progress(3, lambda: self._now_s)
        self._queues = QueueProgress(self.busy, lambda: self.waiting, self._progress)

    def look(self, times: int = 1) -> None:
        for _ in range(times):
            self._now_s += 1
            self._queues.step()
            self._progress.check()


@pytest.fixture
def worker() -> Worker:
    return Worker(threads=2)


def test_a_worker_without_jobs_is_well(worker: Worker) -> None:
    worker.look(10)


def test_a_worker_that_lets_jobs_wait_though_it_has_a_free_thread_has_stalled(worker: Worker) -> None:
    worker.busy.begin(task=JOB)
    worker.look()
    worker.waiting = 1
    worker.look(3)
    with pytest.raises(Stalled):
        worker.look()


def test_a_worker_whose_threads_are_all_at_work_has_not_stalled(worker: Worker) -> None:
    worker.busy.begin(task=JOB)
    worker.busy.begin(task=JOB)
    worker.waiting = 5
    worker.look(10)
    worker.busy.end(task=JOB)
    with pytest.raises(Stalled):
        worker.look(4)


def test_a_worker_that_begins_jobs_is_well_however_many_wait(worker: Worker) -> None:
    worker.waiting = 100
    for _ in range(10):
        worker.busy.begin(task=JOB)
        worker.busy.end(task=JOB)
        worker.look()


def test_celerys_own_tasks_are_no_jobs(worker: Worker) -> None:
    worker.busy.begin(task=OTHER)
    worker.busy.end(task=OTHER)
    assert worker.busy.look() == (0, True)
