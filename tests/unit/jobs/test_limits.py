import threading
import time

import pytest

from jobs.limits import Interrupted, JobLimits, TookTooLong


def test_a_job_goes_on_while_there_is_time() -> None:
    JobLimits(60, threading.Event()).check()


def test_a_job_ends_when_its_time_is_over() -> None:
    limits = JobLimits(0.05, threading.Event())
    with pytest.raises(TookTooLong, match=r"0\.05 s"):
        limits.pause(0.1)


def test_a_pause_ends_when_the_worker_stops() -> None:
    stop = threading.Event()
    limits = JobLimits(60, stop)
    threading.Timer(0.1, stop.set).start()
    begin = time.monotonic()
    with pytest.raises(Interrupted):
        limits.pause(30)
    assert time.monotonic() - begin < 5
