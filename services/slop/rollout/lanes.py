"""Lanes: the threads of a process that work under one basis, begun and ended as bases are followed."""

import threading
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from kit.worker import end_process, worker_thread
from slop.basis import Basis, InvalidBasis
from slop.rollout.following import BasisFollower, error_text
from slop.rollout.live import Bases, LiveBases


class LaneFailed(RuntimeError):  # noqa: N818
    """A lane has ended without being told to."""


class Lane(Protocol):
    """Work under one basis."""

    @property
    def error(self) -> str:
        """What ended the lane; empty while nothing did."""

    def check(self) -> None:
        """Raise if the lane is not at work."""

    def check_progress(self) -> None:
        """Raise if the lane has work to do and gets none done."""

    def stop(self) -> None:
        """Tell the lane to end, without waiting until it has."""

    def close(self) -> None:
        """End the work and wait until it has ended; what is under way is finished, or will come again."""


class LaneThreads:
    """The threads of one lane. When one fails all of them end, and if their basis is live the process ends too.

    Attributes:
        stop: set to tell the threads to end.
        error: what one of them failed with, under a basis that is not live.
    """

    def __init__(self, is_live: Callable[[], bool]) -> None:
        self.stop, self.error = threading.Event(), ""
        self._is_live = is_live
        self._threads: list[threading.Thread] = []

    def start(self, name: str, run: Callable[[threading.Event], object]) -> None:
        """Run a worker in a thread of its own."""
        self._threads.append(worker_thread(name, run, self.stop, self._failed))

    def check(self) -> None:
        """Raise LaneFailed if a thread has failed."""
        if self.error:
            raise LaneFailed(self.error)

    def join(self) -> None:
        """Tell the threads to end, and wait until they have."""
        self.stop.set()
        for thread in self._threads:
            thread.join()

    def _failed(self, error: Exception) -> None:
        if self._is_live():
            end_process(error)
        self.error = error_text(error)
        self.stop.set()


L = TypeVar("L", bound=Lane)


class Lanes(BasisFollower[L]):
    """A lane for each basis that is to be followed."""

    def __init__(self, bases: LiveBases, part: str, start: Callable[[Basis], L]) -> None:
        """See `BasisFollower`; `start` gets the basis itself."""
        super().__init__(bases, part, lambda ref: start(ref.load()))
        self._claimed = False

    def check(self) -> None:
        """Raise if the live basis' lane is not at work, or there is none."""
        lane = self.live
        if lane is None:
            raise InvalidBasis(f"the live basis {self.live_version} is not followed; the log says why")
        lane.check()

    def check_progress(self) -> None:
        """Raise if the live basis' lane has work to do and gets none done; where there is no lane, `check` raises."""
        if (lane := self.live) is not None:
            lane.check_progress()

    def run(self, every_s: float, stop: threading.Event) -> None:
        """Follow until `stop` is set, then end all lanes."""
        try:
            while not stop.is_set():
                self.step()
                stop.wait(every_s)
        finally:
            self.end(list(self.by_version))

    def _read(self) -> Bases:
        """Claim the configured basis before the first time, then read which bases are to be followed."""
        if not self._claimed:
            self._store.claim()
            self._claimed = True
        return super()._read()

    def _error_of(self, work: L) -> str:
        return work.error

    def _close(self, ended: Mapping[str, L]) -> None:
        """Tell all lanes to end before waiting for any: each may have to finish something first."""
        for lane in ended.values():
            lane.stop()
        for lane in ended.values():
            lane.close()
