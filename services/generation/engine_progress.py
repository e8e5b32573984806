"""Whether the engine writes: its API answers `/models` and `/health` for hours while the engine behind it hangs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from kit.problems import Problem

PROBE_AFTER: Final = 1 / 3
"""How long no token may come before the engine is probed, in units of `silent_s`, while a request waits for one."""
PROBE_AT_REST_AFTER: Final = 2
"""The same while no request waits. It is long, since vLLM on a CPU computes for a second and more over one token."""


class NoToken(RuntimeError):  # noqa: N818
    """The engine was asked for tokens, and none came."""


class EngineProgress:
    """When the engine last wrote a token, and for how long requests have waited for one since."""

    def __init__(self, silent_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """No token has come yet.

        Args:
            silent_s: an engine hangs if requests have waited for so many seconds, and no token has come.
            clock: the time in seconds; it never goes back.
        """
        self._silent_s, self._clock = silent_s, clock
        self._requests = 0
        self._wrote_at: float | None = None
        self._waiting_since = 0.0
        self._problem: Problem | None = None

    @contextmanager
    def request(self) -> Iterator[None]:
        """A request waits for tokens until the block ends."""
        if not self._requests:
            self._waiting_since = self._clock()
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    def wrote(self) -> None:
        """A token has come."""
        self._wrote_at = self._waiting_since = self._clock()
        self._problem = None

    @property
    def requests(self) -> int:
        """How many requests wait for tokens."""
        return self._requests

    @property
    def wrote_at(self) -> float | None:
        """When the last token came, by the clock; None before the first one."""
        return self._wrote_at

    def probe_failed(self, problem: Problem) -> None:
        """The engine was asked for a token to see whether it writes, and gave none."""
        self._problem = problem

    @property
    def probe_is_due(self) -> bool:
        """Whether no token has come for so long that the engine is to be asked for one."""
        if self._wrote_at is None:
            return True
        after = PROBE_AFTER if self._requests else PROBE_AT_REST_AFTER
        return self._clock() - self._wrote_at > self._silent_s * after

    @property
    def waited_s(self) -> float:
        """For how many seconds requests have waited and no token has come; 0 while none waits."""
        return self._clock() - self._waiting_since if self._requests else 0.0

    @property
    def hangs(self) -> bool:
        """Whether requests have waited for too long."""
        return self.waited_s >= self._silent_s

    @property
    def problem(self) -> Problem | None:
        """Why the last probe failed, if no token has come since."""
        return self._problem

    def check(self) -> None:
        """Raise NoToken if the engine hangs, if the last probe failed, or before the first token."""
        if self.hangs:
            raise NoToken(f"no token came for {self.waited_s:.0f} s")
        if self._problem is not None:
            raise NoToken(self._problem.detail)
        if self._wrote_at is None:
            raise NoToken("no token has come yet")
