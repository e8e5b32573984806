"""Whether a worker gets on with its work."""

import time
from collections.abc import Callable


class Stalled(RuntimeError):  # noqa: N818
    """A worker has work to do, or has not been heard of, and has got nothing done for too long."""


class Progress:
    """When a worker last had something done, or nothing to do; it is told by the worker and asked by other threads."""

    def __init__(self, stalled_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is expected of the worker until it comes round for the first time.

        Args:
            stalled_s: for how long it may get nothing done, seconds.
            clock: the time in seconds; it never goes back.
        """
        self._stalled_s, self._clock = stalled_s, clock
        self._at: float | None = None
        self._behind = 0

    def came_round(self, done: int, behind: int) -> None:
        """The worker asks for more work.

        Args:
            done: what it has done since it last came round.
            behind: how much there is left, the work that it gets now included.
        """
        if done or not behind or self._at is None:
            self._at = self._clock()
        self._behind = behind

    def check(self) -> None:
        """Raise Stalled if nothing was done for too long; a worker that hangs does not come round to say so."""
        if self._at is None:
            return
        pause_s = self._clock() - self._at
        if pause_s > self._stalled_s:
            raise Stalled(f"nothing done for {pause_s:.0f} s, {self._behind} left when last heard of")
