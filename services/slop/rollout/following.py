"""A worker for every basis that is followed: the live one, and beside it the next one while it is rolled out."""

import threading
from collections.abc import Callable, Collection, Mapping
from typing import Generic, Protocol, TypeVar

import structlog
from redis.exceptions import RedisError

from kit.worker import end_process, worker_thread
from slop.basis import Basis, InvalidBasis
from slop.rollout.live import Bases, BasisRef, LiveBases

log = structlog.get_logger(__name__)


class LaneFailed(RuntimeError):  # noqa: N818
    """A lane has ended, which nobody told it to."""


class Lane(Protocol):
    """What works under one basis."""

    @property
    def error(self) -> str:
        """What ended it; empty while nothing did."""

    def check(self) -> None:
        """Raise if it is not at work."""

    def check_progress(self) -> None:
        """Raise if it is at work and gets nothing done."""

    def stop(self) -> None:
        """Tell it to end, without waiting for that."""

    def close(self) -> None:
        """End the work; what is under way is finished or will come again."""


class LaneThreads:
    """A lane's threads: if one fails all of them end, and if their basis is live so does the process.

    Attributes:
        stop: tells them to end.
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
        """Raise LaneFailed if one has failed."""
        if self.error:
            raise LaneFailed(self.error)

    def join(self) -> None:
        """Tell them to end, and wait until they have."""
        self.stop.set()
        for thread in self._threads:
            thread.join()

    def _failed(self, error: Exception) -> None:
        if self._is_live():
            end_process(error)
        self.error = _text(error)
        self.stop.set()


L = TypeVar("L", bound=Lane)


class Following(Generic[L]):
    """Starts and ends lanes as bases come and go."""

    def __init__(self, live: LiveBases, part: str, start: Callable[[Basis], L]) -> None:
        """Begins with the configured basis.

        Args:
            live: tells what to follow, and is told what is in the way of it.
            part: of the system, for the logs and the followers.
            start: starts the work under a basis; may raise InvalidBasis.
        """
        self._live, self._part, self._start = live, part, start
        self._bases, self._claimed = Bases(live.configured), False
        self._lanes: dict[str, L] = {}
        self._failed: dict[str, str] = {}

    @property
    def lanes(self) -> Mapping[str, L]:
        """The lanes at work, by version."""
        return self._lanes

    @property
    def live(self) -> L | None:
        """The live basis' lane, unless it can't be followed."""
        return self._lanes.get(self._bases.live.version)

    def is_live(self, version: str) -> bool:
        """Whether a basis is the live one."""
        return self._bases.live.version == version

    def check(self) -> None:
        """Raise if the live basis' lane is not at work, or there is none."""
        lane = self.live
        if lane is None:
            raise InvalidBasis(f"the live basis {self._bases.live.version} is not followed; the log says why")
        lane.check()

    def check_progress(self) -> None:
        """Raise if the live basis' lane has work to do and gets nothing done; one that is not there is not asked."""
        if (lane := self.live) is not None:
            lane.check_progress()

    def run(self, every_s: float, stop: threading.Event) -> None:
        """Follow until `stop` is set."""
        try:
            while not stop.is_set():
                self.step()
                stop.wait(every_s)
        finally:
            self._end(list(self._lanes))

    def step(self) -> None:
        """Look what is to be followed, and follow it; without Redis, what was followed before."""
        try:
            if not self._claimed:
                self._live.claim()
                self._claimed = True
            self._bases = self._live.read()
        except RedisError as error:
            log.warning("can't see which basis is live", error=f"{type(error).__name__}: {error}")
        followed = self._bases.followed
        self._end(self._lanes.keys() - followed.keys())
        self._failed = {version: error for version, error in self._failed.items() if version in followed}
        errors = {version: self._followed(place) for version, place in followed.items()}
        try:
            self._live.tell(self._part, errors)
        except RedisError as error:
            log.warning("can't tell which bases are followed", error=f"{type(error).__name__}: {error}")

    def _end(self, versions: Collection[str]) -> None:
        """End lanes, all at once: each may have to finish something first."""
        lanes = {version: self._lanes.pop(version) for version in versions}
        for lane in lanes.values():
            lane.stop()
        for version, lane in lanes.items():
            lane.close()
            log.info("basis not followed any more", basis=version)

    def _followed(self, place: BasisRef) -> str:
        """Follow a basis; returns what is in the way. One that is not live is not tried again, and harms no other."""
        version, live = place.version, self.is_live(place.version)
        if live and version in self._lanes and self._lanes[version].error:
            self._end([version])
        if version in self._lanes:
            return self._lanes[version].error
        if version in self._failed and not live:
            return self._failed[version]
        try:
            self._lanes[version] = self._start(place.load())
        except InvalidBasis as error:
            log.error("basis can't be followed", basis=version, error=str(error))
            return str(error)
        except Exception as error:
            if live:
                raise
            log.exception("basis can't be followed", basis=version)
            self._failed[version] = _text(error)
            return self._failed[version]
        log.info("basis followed", basis=version, live=live)
        return ""


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
