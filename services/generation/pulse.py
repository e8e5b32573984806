"""Whether the engine writes: its API answers `/models` and `/health` for hours while the engine behind it hangs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from kit.problems import Problem

WAITED_FOR: Final = 1 / 3  # of the time after which an engine hangs
AT_REST: Final = 2


class NoToken(RuntimeError):  # noqa: N818
    """No token came from the engine, though it was asked for some."""


class EngineProgress:
    """When the engine last wrote something, and since when it has been asked to in vain."""

    def __init__(self, silent_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing has come yet.

        Args:
            silent_s: an engine that was asked and has written nothing for so long hangs.
            clock: the time in seconds; it never goes back.
        """
        self._silent_s, self._clock = silent_s, clock
        self._asked = 0
        self._came_at: float | None = None
        self._since = 0.0
        self._problem: Problem | None = None

    @contextmanager
    def asked(self) -> Iterator[None]:
        """The engine is asked for something until the block ends."""
        if not self._asked:
            self._since = self._clock()
        self._asked += 1
        try:
            yield
        finally:
            self._asked -= 1

    def came(self) -> None:
        """Something came from the engine."""
        self._came_at = self._since = self._clock()
        self._problem = None

    @property
    def came_at(self) -> float | None:
        """When something came last, by the clock; None before the first time."""
        return self._came_at

    def failed(self, problem: Problem) -> None:
        """What was asked to see whether something comes was in vain, and why."""
        self._problem = problem

    @property
    def is_due(self) -> bool:
        """Whether it is time to ask for a token, for want of any: much sooner while somebody waits.

        An engine at rest is asked seldom: vLLM on a CPU computes for a second and more over one token.
        """
        if self._came_at is None:
            return True
        return self._clock() - self._came_at > self._silent_s * (WAITED_FOR if self._asked else AT_REST)

    @property
    def vain_s(self) -> float:
        """For how long the engine has been asked in vain, seconds."""
        return self._clock() - self._since if self._asked else 0.0

    @property
    def hangs(self) -> bool:
        """Whether that is too long."""
        return self.vain_s >= self._silent_s

    @property
    def problem(self) -> Problem | None:
        """What the last attempt to get a token failed with, if nothing has come since."""
        return self._problem

    def check(self) -> None:
        """Raise NoToken if the engine hangs, does not do what it is asked, or has never done so."""
        if self.hangs:
            raise NoToken(f"no token came for {self.vain_s:.0f} s")
        if self._problem is not None:
            raise NoToken(self._problem.detail)
        if self._came_at is None:
            raise NoToken("no token has come yet")
