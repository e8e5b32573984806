"""Rolling a new basis out without a pause, and going back.

The running featurizer and learner learn the next basis beside the live one (blue/green): its consumer groups read the
log from the start, and its profiles are in a key space of their own. When it has caught up and ranks better what
readers reacted to, generation switches, and the former basis is followed no more. Its profiles and its groups' offsets
stay; going back switches at once, and then catches up on what came meanwhile. The profiles of the basis before the
former one are deleted.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from kafka.errors import KafkaError
from redis import Redis
from redis.exceptions import LockError
from redis.lock import Lock

from jobs.catching_up import CatchingUp, RolloutFailed, Say
from jobs.comparing import NotBetter, NotCompared, compared
from jobs.former_bases import FormerBases
from jobs.redis_clients import connected
from jobs.settings import JobsSettings
from slop.basis import Basis
from slop.rollout.live import Bases, BasisRef, LiveBases

LOCK_S: Final = 60


class RolloutRefused(ValueError):  # noqa: N818
    """The basis can't be rolled out or is no better; the live one stays, and the message says why."""


def folder_of(name: str, settings: JobsSettings) -> Path:
    """The folder of a basis: of a version that the worker has built, else `name` is its path."""
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
        RolloutRefused: another rollout is under way.
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
        self._catching_up = CatchingUp(settings, self._live, self.keep)
        self._former_bases = FormerBases(settings, redis, self._live, self.keep)

    def forward(self, new: BasisRef, say: Say, *, anyway: bool) -> BasisRef:
        """As `roll_out`."""
        bases, basis = self._bases(), new.load()
        if basis.content_version == bases.live.load().content_version:
            say(f"{bases.live.version} is live already")
            return bases.live
        _require_same_model(basis, bases.live.load())
        with self._followed(new, bases, say):
            self._catching_up.await_caught_up(basis, say)
            if not anyway:
                self._require_better(bases.live, new, say)
        self._live.write(Bases(live=new, also_followed=bases.live, former=bases.live))
        self._linger(new, say)
        if bases.former is not None and bases.former.version not in {new.version, bases.live.version}:
            self._former_bases.delete(bases.former, say)
        return new

    def anew(self, new: BasisRef, say: Say) -> BasisRef:
        """Learn all readers anew under another relearning of the live basis, switch to it, and delete the former one.

        Raises:
            As `roll_out`.
        """
        bases, basis = self._bases(), new.load()
        with self._followed(new, bases, say):
            self._catching_up.await_caught_up(basis, say)
        self._live.write(Bases(live=new, also_followed=bases.live, former=bases.former))
        self._linger(new, say)
        self._catching_up.await_unfollowed(bases.live)
        self._former_bases.delete(bases.live, say)
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
        with self._followed(old, bases, say):
            pass  # it catches up after the switch: what is live now is bad
        self._live.write(Bases(live=old, also_followed=bases.live))  # nobody goes back to what was bad
        with _all_but_done(old, say):
            self._linger(old, say)
            self._catching_up.await_caught_up(basis, say)
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

    @contextmanager
    def _followed(self, new: BasisRef, bases: Bases, say: Say) -> Iterator[None]:
        """Have every part follow `new` beside the live basis; if the block fails, `new` is followed no more."""
        self._live.clear_followers(new.version)
        try:
            self._live.write(replace(bases, also_followed=new))
            self._catching_up.await_followers(new, say)
            yield
        except BaseException:
            self._live.write(replace(bases, also_followed=None))
            raise

    def _linger(self, live: BasisRef, say: Say) -> None:
        """Have the former basis followed for as long as a request under it may take."""
        say(f"{live.version} is live")
        deadline = time.monotonic() + self._settings.rollout_linger_s
        try:
            while time.monotonic() < deadline:
                self._catching_up.pause()
        finally:
            self._live.write(replace(self._live.read(), also_followed=None))

    def _require_better(self, live: BasisRef, new: BasisRef, say: Say) -> None:
        """Compare the bases if their text features differ; factors were compared when they were fitted."""
        if new.load().text_version == live.load().text_version:
            return
        say(f"comparing {new.version} with {live.version} by what readers did")
        try:
            say(compared(live, new, self._settings, self._catching_up.pause))
        except NotBetter as error:
            raise RolloutRefused(
                f"{new.version} is not clearly better than {live.version}: {error}; --anyway rolls it out all the same"
            ) from error
        except NotCompared as error:
            raise RolloutFailed(str(error)) from error


@contextmanager
def _all_but_done(live: BasisRef, say: Say) -> Iterator[None]:
    """For the wait after the switch: an error ends the wait, and the switch stays."""
    try:
        yield
    except (RolloutFailed, KafkaError, KeyboardInterrupt) as error:
        say(f"{live.version} is live, and catches up by itself; not waited for: {str(error) or 'interrupted'}")


def _require_same_model(new: Basis, live: Basis) -> None:
    if new.revision != live.revision:
        raise RolloutRefused(
            f"{new.version} is of {new.model} {new.revision}, the engine serves {live.model} {live.revision}: another "
            "model is a restart, with SLOP_BASIS_DIR (see docs/operations.md)"
        )
    if new.template != live.template:
        raise RolloutRefused(f"{new.version} has another template than {live.version}: restart with SLOP_BASIS_DIR")
