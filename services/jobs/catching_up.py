"""Waiting until a basis is followed by every part of the stack, and until its consumer groups have caught up."""

import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Final

from jobs.settings import JobsSettings
from slop.basis import Basis
from slop.kafka.group_lag import GroupLag
from slop.rollout.live import BasisRef, LiveBases, groups_of

PARTS: Final = ("featurizer", "generation", "learner")
LOOK_S: Final = 0.5
SAY_S: Final = 5.0

Say = Callable[[str], None]


class RolloutFailed(RuntimeError):  # noqa: N818
    """The basis was not followed, or did not catch up in time; the live one stays, and the message says why."""


class CatchingUp:
    """Waits for the processes that follow a basis. Every wait keeps the rollout's lock."""

    def __init__(self, settings: JobsSettings, live: LiveBases, keep_lock: Callable[[], None]) -> None:
        """The time in which bases have to catch up, `settings.rollout_timeout_s`, begins now.

        Args:
            settings: how long to wait, and where the brokers are.
            live: which processes follow which basis.
            keep_lock: called every LOOK_S seconds while it waits.
        """
        self._settings, self._live, self._keep_lock = settings, live, keep_lock
        self._deadline = time.monotonic() + settings.rollout_timeout_s

    def await_followers(self, ref: BasisRef, say: Say) -> None:
        """Wait until all PARTS report that they follow a basis.

        Raises:
            RolloutFailed: one did not within `rollout_follow_s`, or reports that it can't.
            redis.exceptions.RedisError: Redis is away.
        """
        say(f"waiting until {', '.join(PARTS)} follow {ref.version}")
        deadline = time.monotonic() + self._settings.rollout_follow_s
        while missing := set(PARTS) - self._followers(ref.version):
            if time.monotonic() > deadline:
                raise RolloutFailed(
                    f"{ref.version} is not followed by {', '.join(sorted(missing))}: do they run, with the "
                    f"SLOP_BASIS_DIR that is set here?"
                )
            self.pause()

    def await_unfollowed(self, ref: BasisRef) -> None:
        """Wait until no process reports that it follows a basis: the basis' groups have no members then."""
        deadline = time.monotonic() + self._settings.rollout_follow_s
        while time.monotonic() < deadline:
            self._live.clear_followers(ref.version)
            told_by = time.monotonic() + 3 * self._settings.follow_s
            while time.monotonic() < told_by:
                self.pause()
            if not self._live.followers(ref.version):
                return

    def _followers(self, version: str) -> set[str]:
        """The parts that follow a basis.

        Raises:
            RolloutFailed: one says that it can't.
        """
        followers = self._live.followers(version)
        for name, error in followers.items():
            if error:
                raise RolloutFailed(f"{name} can't follow {version}: {error}")
        return {name.partition("@")[0] for name in followers}

    def await_caught_up(self, basis: Basis, say: Say) -> None:
        """Wait until all that was in the log `rollout_fresh_s` ago has been learned.

        Each group is waited for in turn, since signals are written only after their interactions were read.

        Raises:
            RolloutFailed: it did not catch up in time, or a part reports that it can't follow the basis.
            kafka.errors.KafkaError, redis.exceptions.RedisError: a server is away.
        """
        groups = groups_of(basis, self._live.configured.version, self._settings)
        with ExitStack() as stack:
            lags = [stack.enter_context(closing(GroupLag(self._settings, *group))) for group in groups.read()]
            names = [group for group, _ in groups.read()]
            told = _Told(say)
            while True:
                began = time.monotonic()
                for name, lag in zip(names, lags, strict=True):
                    self._await_group(basis.version, name, lag, told)
                if time.monotonic() - began <= self._settings.rollout_fresh_s:
                    say(f"{basis.version} has caught up")
                    return

    def _await_group(self, version: str, name: str, lag: GroupLag, told: "_Told") -> None:
        ends = lag.ends()
        while left := lag.behind(ends):
            self._followers(version)
            told.left(name, left)
            if time.monotonic() > self._deadline:
                seconds = self._settings.rollout_timeout_s
                raise RolloutFailed(
                    f"{name} is {left:,} records behind after {seconds:,.0f} s. What is learned stays learned: begun "
                    "again, with a longer SLOP_ROLLOUT_TIMEOUT_S, it goes on from there"
                )
            self.pause()

    def pause(self) -> None:
        """Wait for LOOK_S seconds, and keep the lock."""
        time.sleep(LOOK_S)
        self._keep_lock()


class _Told:
    """Tells progress, at most every SAY_S seconds."""

    def __init__(self, say: Say) -> None:
        self._say, self._at = say, 0.0

    def left(self, group: str, records: int) -> None:
        """Tell how many records a group has left to read."""
        if time.monotonic() - self._at >= SAY_S:
            self._say(f"{group}: {records:,} records left")
            self._at = time.monotonic()
