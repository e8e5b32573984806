"""A worker for every basis that is followed: the live one, and beside it the next one while it is rolled out."""

import threading
from collections.abc import Callable, Mapping
from typing import Generic, Protocol, TypeVar

import structlog
from redis.exceptions import RedisError

from slop.basis import Basis, InvalidBasis
from slop.live import Bases, LiveBases, Place

log = structlog.get_logger(__name__)


class Lane(Protocol):
    """What works under one basis."""

    def check(self) -> None:
        """Raise if it is not at work."""

    def close(self) -> None:
        """End the work; what is under way is finished or will come again."""


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

    def run(self, every_s: float, stop: threading.Event) -> None:
        """Follow until `stop` is set."""
        try:
            while not stop.is_set():
                self.step()
                stop.wait(every_s)
        finally:
            for version in list(self._lanes):
                self._lanes.pop(version).close()

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
        for version in self._lanes.keys() - followed.keys():
            log.info("basis not followed any more", basis=version)
            self._lanes.pop(version).close()
        errors = {version: self._followed(place) for version, place in followed.items()}
        try:
            self._live.tell(self._part, errors)
        except RedisError as error:
            log.warning("can't tell which bases are followed", error=f"{type(error).__name__}: {error}")

    def _followed(self, place: Place) -> str:
        """Follow a basis; returns what is in the way."""
        if place.version in self._lanes:
            return ""
        try:
            self._lanes[place.version] = self._start(place.load())
        except InvalidBasis as error:
            log.error("basis can't be followed", basis=place.version, error=str(error))
            return str(error)
        log.info("basis followed", basis=place.version, live=self.is_live(place.version))
        return ""
