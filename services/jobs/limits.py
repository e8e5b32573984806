"""When a job has to end: it was told to, or it has taken too long.

Celery's own time limits need a process for each task; the worker runs tasks in threads (see `jobs.worker`).
"""

import threading
import time


class Interrupted(Exception):  # noqa: N818
    """The worker stops; the job goes back to its queue."""


class TookTooLong(Exception):  # noqa: N818
    """The job did not end in the time that it has."""


class JobLimits:
    """Tells a job whether it may go on; the job asks between two pieces of its work."""

    def __init__(self, timeout_s: float, stop: threading.Event) -> None:
        """The time begins now; `stop` is set when the worker stops."""
        self._timeout_s, self._deadline, self._stop = timeout_s, time.monotonic() + timeout_s, stop

    def check(self) -> None:
        """Return if the job may go on.

        Raises:
            Interrupted: the worker stops.
            TookTooLong: the time is over.
        """
        if self._stop.is_set():
            raise Interrupted
        if time.monotonic() > self._deadline:
            raise TookTooLong(f"not done after {self._timeout_s:g} s")

    def pause(self, seconds: float) -> None:
        """Wait, at most until the worker stops; then as `check`."""
        self._stop.wait(seconds)
        self.check()
