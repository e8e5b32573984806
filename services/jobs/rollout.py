"""Rolling a new basis out without a pause, and going back.

The running featurizer and learner learn the next basis beside the live one (blue/green): its consumer groups read the
log from the start, and its profiles are in a key space of their own. When it has caught up and ranks better what
readers reacted to, generation switches, and the former basis is followed no more. Its profiles and its groups' offsets
stay; going back switches at once, and then catches up on what came meanwhile. The profiles of the basis before the
former one are deleted.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from kafka.errors import KafkaError
from redis import Redis
from redis.exceptions import LockError
from redis.lock import Lock

from jobs.comparing import NotBetter, NotCompared, compared
from jobs.redis_clients import connected
from jobs.settings import JobsSettings
from slop.basis import Basis, InvalidBasis
from slop.kafka.group_lag import GroupLag
from slop.kafka.topics import INTERACTIONS, POSTS, SIGNALS
from slop.redis.posts import delete_features
from slop.redis.profiles import delete_profiles
from slop.rollout.live import Bases, BasisRef, LiveBases, groups_of

PARTS: Final = ("featurizer", "generation", "learner")
LOOK_S: Final = 0.5
LOCK_S: Final = 60
SAY_S: Final = 5.0

Say = Callable[[str], None]


class RolloutRefused(ValueError):  # noqa: N818
    """The basis can't be rolled out or is no better; the live one stays, and the message says why."""


class RolloutFailed(RuntimeError):  # noqa: N818
    """The basis was not followed, or did not catch up in time; the live one stays, and the message says why."""


def folder_of(name: str, settings: JobsSettings) -> Path:
    """A folder by its path, or by a version among the bases that the worker has built."""
    built = settings.bases_dir / name
    return built if built.is_dir() else Path(name)


def roll_out(settings: JobsSettings, folder: Path, say: Say, *, anyway: bool = False) -> BasisRef:
    """Relearn the log under the basis in `folder`, and switch to it if it is better; returns what is live then.

    It may be repeated: it goes on where it was. With `anyway` it need not be better.

    Raises:
        slop.basis.InvalidBasis: there is no usable basis, or none that may be live.
        RolloutRefused: the basis is of another model or template than the live one, or its prompts do not rank better
            what readers reacted to, or another rollout is under way.
        RolloutFailed: it was not followed, or did not catch up in time.
        redis.exceptions.RedisError, kafka.errors.KafkaError: a server is away; the live basis stays.
    """
    with only_rollout(settings) as rollout:
        return rollout.forward(BasisRef.of(folder), say, anyway=anyway)


def roll_back(settings: JobsSettings, say: Say) -> BasisRef:
    """Switch to the basis that was live before, then wait until it has caught up; returns what is live then.

    The basis that was live is taken to be bad: a second call, which would go back to it, is refused. After the switch
    an error only ends the wait, since the basis catches up by itself.

    Raises:
        As `roll_out`, before the switch; RolloutRefused where nothing was live before.
    """
    with only_rollout(settings) as rollout:
        return rollout.back(say)


def cancel(settings: JobsSettings, say: Say) -> BasisRef:
    """Stop following every basis but the live one, after a rollout that was killed; returns what is live.

    Raises:
        slop.basis.InvalidBasis: there is no usable basis in the settings' folder.
        RolloutRefused: a rollout is under way; it is to be interrupted.
        redis.exceptions.RedisError: Redis is away.
    """
    with only_rollout(settings) as rollout:
        return rollout.cancel(say)


@contextmanager
def only_rollout(settings: JobsSettings) -> Iterator["Rollout"]:
    """Hold the lock that keeps all other rollouts out.

    Raises:
        RolloutRefused: another one is.
    """
    with connected(settings.redis_url, settings) as redis:
        lock = redis.lock("slop:rollout", timeout=LOCK_S, blocking=False)
        if not lock.acquire():
            raise RolloutRefused(f"another rollout is under way, or was killed within the last {LOCK_S} s")
        try:
            yield Rollout(settings, redis, lock)
        finally:
            _released(lock)


def _released(lock: Lock) -> None:
    try:
        lock.release()
    except LockError:  # it has expired
        return


class Rollout:
    """The one rollout that is under way."""

    def __init__(self, settings: JobsSettings, redis: Redis, lock: Lock) -> None:
        self._settings, self.redis, self._lock = settings, redis, lock
        self._live = LiveBases(redis, BasisRef.of(settings.basis_dir))
        self._deadline = time.monotonic() + settings.rollout_timeout_s

    def forward(self, new: BasisRef, say: Say, *, anyway: bool) -> BasisRef:
        """As `roll_out`."""
        bases, basis = self._bases(), new.load()
        if basis.content_version == bases.live.load().content_version:
            say(f"{bases.live.version} is live already")
            return bases.live
        _require_same_model(basis, bases.live.load())
        self._live.clear_followers(new.version)
        try:
            self._live.write(replace(bases, also_followed=new))
            self._await_followers(new, say)
            self._await_caught_up(basis, say)
            if not anyway:
                self._require_better(bases.live, new, say)
        except BaseException:
            self._live.write(replace(bases, also_followed=None))
            raise
        self._live.write(Bases(live=new, also_followed=bases.live, former=bases.live))
        self._linger(new, say)
        if bases.former is not None and bases.former.version not in {new.version, bases.live.version}:
            self._clear(bases.former, say)
        return new

    def anew(self, new: BasisRef, say: Say) -> BasisRef:
        """Learn all readers anew under another relearning of the live basis, switch to it, and delete the former one.

        Raises:
            As `roll_out`.
        """
        bases, basis = self._bases(), new.load()
        self._live.clear_followers(new.version)
        try:
            self._live.write(replace(bases, also_followed=new))
            self._await_followers(new, say)
            self._await_caught_up(basis, say)
        except BaseException:
            self._live.write(replace(bases, also_followed=None))
            raise
        self._live.write(Bases(live=new, also_followed=bases.live, former=bases.former))
        self._linger(new, say)
        self._await_unfollowed(bases.live)
        self._clear(bases.live, say)
        return new

    def back(self, say: Say) -> BasisRef:
        """As `roll_back`."""
        bases = self._bases()
        if bases.former is None:
            raise RolloutRefused(
                f"nothing was live before {bases.live.version}, or it was gone back from: roll one out, by its folder"
            )
        old = bases.former
        basis = old.load()
        self._live.clear_followers(old.version)
        try:
            self._live.write(replace(bases, also_followed=old))
            self._await_followers(old, say)
        except BaseException:
            self._live.write(replace(bases, also_followed=None))
            raise
        self._live.write(Bases(live=old, also_followed=bases.live))  # nobody goes back to what was bad
        with _all_but_done(old, say):
            self._linger(old, say)
            self._await_caught_up(basis, say)
        return old

    def cancel(self, say: Say) -> BasisRef:
        """As `cancel` of the module."""
        bases = self._bases()
        if bases.also_followed is None:
            say(f"nothing is followed beside {bases.live.version}")
        else:
            self._live.write(replace(bases, also_followed=None))
            say(f"{bases.also_followed.version} is followed no more")
        return bases.live

    def live(self) -> BasisRef:
        """What is live.

        Raises:
            RolloutRefused: the processes were started with another basis.
            redis.exceptions.RedisError: Redis is away.
        """
        return self._bases().live

    @property
    def configured(self) -> str:
        """The version of the basis that the processes were started with."""
        return self._live.configured.version

    def keep(self) -> None:
        """Keep the lock: to be called at least every LOCK_S seconds."""
        self._lock.reacquire()

    def _bases(self) -> Bases:
        record, configured = self._live.record(), self._live.configured
        if record is not None and record.configured != configured.version:
            raise RolloutRefused(
                f"the processes were started with the basis {record.configured}, SLOP_BASIS_DIR has "
                f"{configured.version} here: set it as it was then, or start them again"
            )
        return self._live.read()

    def _linger(self, live: BasisRef, say: Say) -> None:
        """Have the former basis followed for as long as a request under it may take."""
        say(f"{live.version} is live")
        deadline = time.monotonic() + self._settings.rollout_linger_s
        try:
            while time.monotonic() < deadline:
                self._pause()
        finally:
            self._live.write(replace(self._live.read(), also_followed=None))

    def _clear(self, former: BasisRef, say: Say) -> None:
        """Delete the profiles under a basis that nobody goes back to; rolled out again, it reads the log anew."""
        try:
            self._rewind(former.load())
        except (InvalidBasis, KafkaError) as error:
            say(f"the profiles under {former.version} stay: {error}")
            return
        deleted = self._deleted(delete_profiles(self.redis, former.version))
        say(f"{former.version} was live before that: {deleted:,} keys of its profiles are deleted")
        try:
            shared = former.load().text_version in self._text_versions()
        except InvalidBasis as error:
            say(f"the features of posts under {former.version} expire by themselves: {error}")
            return
        if not shared:
            deleted = self._deleted(delete_features(self.redis, former.load().text_version))
            say(f"so are the features of {deleted:,} posts")

    def _text_versions(self) -> set[str]:
        """The text versions of the bases that are live or may become so.

        Raises:
            slop.basis.InvalidBasis: one can't be read.
        """
        bases = self._live.read()
        return {ref.load().text_version for ref in (bases.live, bases.also_followed, bases.former) if ref is not None}

    def _deleted(self, batches: Iterator[int]) -> int:
        """Delete in batches, keeping the lock meanwhile; returns how many keys were deleted."""
        deleted = 0
        for keys in batches:
            deleted += keys
            self._lock.reacquire()
        return deleted

    def _rewind(self, basis: Basis) -> None:
        """Have a basis' groups read posts and interactions from the start.

        Their signals are published again, in order. Those in the topic now are skipped: else newer ones among them
        would be learned before the older ones that come again.
        """
        groups = groups_of(basis, self._live.configured.version, self._settings)
        for group, topic in ((groups.texts, POSTS), (groups.interactions, INTERACTIONS)):
            with closing(GroupLag(self._settings, group, topic)) as lag:
                lag.rewind()
        with closing(GroupLag(self._settings, groups.signals, SIGNALS)) as lag:
            lag.skip()

    def _await_followers(self, ref: BasisRef, say: Say) -> None:
        say(f"waiting until {', '.join(PARTS)} follow {ref.version}")
        deadline = time.monotonic() + self._settings.rollout_follow_s
        while missing := set(PARTS) - self._followers(ref.version):
            if time.monotonic() > deadline:
                raise RolloutFailed(
                    f"{ref.version} is not followed by {', '.join(sorted(missing))}: do they run, with the "
                    f"SLOP_BASIS_DIR that is set here?"
                )
            self._pause()

    def _await_unfollowed(self, ref: BasisRef) -> None:
        """Wait until no process reports that it follows a basis: the basis' groups have no members then."""
        deadline = time.monotonic() + self._settings.rollout_follow_s
        while time.monotonic() < deadline:
            self._live.clear_followers(ref.version)
            told_by = time.monotonic() + 3 * self._settings.follow_s
            while time.monotonic() < told_by:
                self._pause()
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

    def _await_caught_up(self, basis: Basis, say: Say) -> None:
        """Wait until all that was in the log `rollout_fresh_s` ago has been learned.

        Each group is waited for in turn, since signals are written only after their interactions were read.
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
            self._pause()

    def _require_better(self, live: BasisRef, new: BasisRef, say: Say) -> None:
        """Compare the bases if their text features differ; factors were compared when they were fitted."""
        if new.load().text_version == live.load().text_version:
            return
        say(f"comparing {new.version} with {live.version} by what readers did")
        try:
            say(compared(live, new, self._settings, self._pause))
        except NotBetter as error:
            raise RolloutRefused(
                f"{new.version} is not clearly better than {live.version}: {error}; --anyway rolls it out all the same"
            ) from error
        except NotCompared as error:
            raise RolloutFailed(str(error)) from error

    def _pause(self) -> None:
        time.sleep(LOOK_S)
        self.keep()


@contextmanager
def _all_but_done(live: BasisRef, say: Say) -> Iterator[None]:
    """For the wait after the switch: an error ends the wait, and the switch stays."""
    try:
        yield
    except (RolloutFailed, KafkaError, KeyboardInterrupt) as error:
        say(f"{live.version} is live, and catches up by itself; not waited for: {str(error) or 'interrupted'}")


class _Told:
    """Tells progress, at most every SAY_S seconds."""

    def __init__(self, say: Say) -> None:
        self._say, self._at = say, 0.0

    def left(self, group: str, records: int) -> None:
        """Tell how many records a group has left to read."""
        if time.monotonic() - self._at >= SAY_S:
            self._say(f"{group}: {records:,} records left")
            self._at = time.monotonic()


def _require_same_model(new: Basis, live: Basis) -> None:
    if new.revision != live.revision:
        raise RolloutRefused(
            f"{new.version} is of {new.model} {new.revision}, the engine serves {live.model} {live.revision}: another "
            "model is a restart, with SLOP_BASIS_DIR (see docs/operations.md)"
        )
    if new.template != live.template:
        raise RolloutRefused(f"{new.version} has another template than {live.version}: restart with SLOP_BASIS_DIR")
