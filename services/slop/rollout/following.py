"""Following the live basis: the work under each basis that is to be followed is begun, ended and reported here."""

from collections.abc import Callable, Collection, Mapping
from typing import Generic, TypeVar

import structlog
from redis.exceptions import RedisError

from slop.basis import InvalidBasis
from slop.rollout.live import Bases, BasisRef, LiveBases

log = structlog.get_logger(__name__)

W = TypeVar("W")


class BasisFollower(Generic[W]):
    """Has work of type W for each basis that is to be followed: the live one, and a second one during a rollout.

    Its calls block. Whoever owns it calls `step` again and again: a thread (`slop.rollout.lanes`), or an event loop by
    way of a thread (`generation.serving`). The attributes may be read from any thread.
    """

    def __init__(
        self, bases: LiveBases, part: str, start: Callable[[BasisRef], W], begun: Mapping[str, W] | None = None
    ) -> None:
        """Until Redis says otherwise, the configured basis is live.

        Args:
            bases: where Redis keeps which bases are to be followed, and who follows them.
            part: of the system, under which this process reports.
            start: begins the work under a basis; raises InvalidBasis if the basis can't be used.
            begun: work that has begun already, by the version of its basis.
        """
        self._store, self._part, self._start = bases, part, start
        self._bases = Bases(bases.configured)
        self._work: dict[str, W] = dict(begun or {})
        self._failed: dict[str, str] = {}

    @property
    def by_version(self) -> Mapping[str, W]:
        """What is at work, by the version of its basis."""
        return self._work

    @property
    def live_version(self) -> str:
        """The version of the live basis."""
        return self._bases.live.version

    @property
    def live(self) -> W | None:
        """The work under the live basis; None if that basis can't be followed."""
        return self._work.get(self.live_version)

    def is_live(self, version: str) -> bool:
        """Whether a basis is the live one."""
        return self.live_version == version

    def step(self) -> None:
        """Read which bases are to be followed, begin and end work accordingly, and report what can't be followed.

        Without Redis, the bases of the step before are followed. A basis that can't be used (InvalidBasis) is tried
        again at every step.

        Raises:
            Exception: whatever else `start` raised under the live basis. Under another basis it is reported, and not
                tried again until that basis is live.
        """
        try:
            self._bases = self._read()
        except RedisError as error:
            log.warning("can't read which basis is live", error=error_text(error))
        to_follow = self._bases.followed
        self.end(self._work.keys() - to_follow.keys())
        self._failed = {version: error for version, error in self._failed.items() if version in to_follow}
        errors = {version: self._follow(ref) for version, ref in to_follow.items()}
        try:
            self._store.report(self._part, errors)
        except RedisError as error:
            log.warning("can't report which bases are followed", error=error_text(error))

    def end(self, versions: Collection[str]) -> None:
        """End the work under these bases."""
        ended = {version: self._work.pop(version) for version in versions}
        self._close(ended)
        for version in ended:
            log.info("basis not followed any more", basis=version)

    def _follow(self, ref: BasisRef) -> str:
        """Begin the work under a basis if there is none yet; returns why there is none, or an empty text."""
        version, live = ref.version, self.is_live(ref.version)
        if live and version in self._work and self._error_of(self._work[version]):
            self.end([version])
        if version in self._work:
            return self._error_of(self._work[version])
        if version in self._failed and not live:
            return self._failed[version]
        try:
            self._work[version] = self._start(ref)
        except InvalidBasis as error:
            log.error("basis can't be followed", basis=version, error=str(error))
            return str(error)
        except Exception as error:
            if live:
                raise
            log.exception("basis can't be followed", basis=version)
            self._failed[version] = error_text(error)
            return self._failed[version]
        log.info("basis followed", basis=version, live=live)
        return ""

    def _read(self) -> Bases:
        """Read from Redis which bases are to be followed."""
        return self._store.read()

    def _error_of(self, work: W) -> str:
        """Why some work ended by itself; an empty text if it did not. Here it never does."""
        del work
        return ""

    def _close(self, ended: Mapping[str, W]) -> None:
        """Close the work under these bases. Here there is nothing to close."""


def error_text(error: Exception) -> str:
    """An error as it is logged and reported."""
    return f"{type(error).__name__}: {error}"
