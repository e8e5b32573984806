"""Which bases the processes follow, and who follows them: the state of a rollout, in Redis.

A process begins with the *configured* basis, which its setting `basis_dir` names. A rollout (`jobs.rollout`) makes
another one live, and stores that along with the version of the configured basis. What is stored counts only for
processes with that configured basis, so a process that is started with another `basis_dir` undoes earlier rollouts; the
processes that are at work then go along with it.
"""

import json
import os
import socket
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Self, cast

from redis import Redis
from redis.client import Pipeline

from slop.basis import Basis, InvalidBasis
from slop.kafka.groups import Groups
from slop.settings import LearningSettings

LIVE_KEY: Final = "slop:live"
"""The key of which bases are followed."""
FOLLOWERS_TTL_S: Final = 3_600
"""For how long a report counts; a process at work repeats it every `follow_s`."""


def followers_key(basis: str) -> str:
    """The key of the processes that are to follow a basis: by name, why a process can't, or an empty text."""
    return f"slop:followers:{basis}"


@dataclass(frozen=True, slots=True)
class BasisRef:
    """A basis by its version and its folder, which every process finds under the same path."""

    version: str
    folder: str

    @classmethod
    def of(cls, folder: Path) -> Self:
        """The basis in a folder.

        Raises:
            slop.basis.InvalidBasis: there is no usable one.
        """
        return cls(Basis.load(folder).version, str(folder.absolute()))

    def load(self) -> Basis:
        """Read the basis.

        Raises:
            slop.basis.InvalidBasis: the folder has none, or another one.
        """
        basis = Basis.load(Path(self.folder))
        if basis.version != self.version:
            raise InvalidBasis(f"{self.folder} has the basis {basis.version}, not {self.version}")
        return basis


@dataclass(frozen=True, slots=True)
class Bases:
    """Which bases the processes follow.

    Attributes:
        live: readers are answered with it, and their signals are counted under it.
        also_followed: is learned too: the next basis until it is live, and the former one for a moment afterwards.
        former: what a rollback goes back to.
    """

    live: BasisRef
    also_followed: BasisRef | None = None
    former: BasisRef | None = None

    @property
    def followed(self) -> dict[str, BasisRef]:
        """The bases that are followed, by version; the live one first."""
        return {ref.version: ref for ref in (self.live, self.also_followed) if ref is not None}


@dataclass(frozen=True, slots=True)
class StoredBases:
    """What Redis keeps under LIVE_KEY.

    Attributes:
        configured: the version of the basis that the processes were started with when this was written.
        bases: which bases they follow.
    """

    configured: str
    bases: Bases

    def to_json(self) -> str:
        """As it is stored; its keys are those of earlier releases."""
        bases = {"live": self.bases.live, "beside": self.bases.also_followed, "before": self.bases.former}
        refs = {key: None if ref is None else asdict(ref) for key, ref in bases.items()}
        return json.dumps({"configured": self.configured, **refs})

    @classmethod
    def of(cls, stored: str | bytes | None) -> Self | None:
        """From what is stored; nothing is, before the first rollout."""
        if stored is None:
            return None
        fields = json.loads(stored)
        also_followed, former = (BasisRef(**ref) if (ref := fields.get(key)) else None for key in ("beside", "before"))
        return cls(fields["configured"], Bases(BasisRef(**fields["live"]), also_followed, former))

    def claimed(self, configured: BasisRef) -> "StoredBases":
        """For processes that are started with another basis: it is live, and nothing else is followed.

        What a rollback goes back to is kept only if that basis was live already.
        """
        live = self.bases.live.version == configured.version
        return StoredBases(configured.version, replace(self.bases, also_followed=None) if live else Bases(configured))


class BasesView:
    """Which bases one process follows, whatever other processes were started with."""

    def __init__(self, configured: BasisRef) -> None:
        """`configured` is the basis in the folder that the process' setting `basis_dir` names."""
        self.configured, self._joined = configured, False

    def of(self, stored: str | bytes | None) -> Bases:
        """By what is stored.

        Until that is of the process' own configured basis, the process follows the configured basis alone. From then
        on it goes with what is stored, also when others are started with another `basis_dir`.
        """
        record = StoredBases.of(stored)
        self._joined |= record is not None and record.configured == self.configured.version
        return record.bases if record is not None and self._joined else Bases(self.configured)


def follower(part: str) -> str:
    """The name of this process as a follower."""
    return f"{part}@{socket.gethostname()}:{os.getpid()}"


class LiveBases:
    """Reads and writes which bases are followed, and who follows them.

    Every call may raise redis.exceptions.RedisError.
    """

    def __init__(self, redis: Redis, configured: BasisRef) -> None:
        """`configured` is the basis in the folder that the process' setting `basis_dir` names."""
        self._redis, self.configured, self._view = redis, configured, BasesView(configured)

    def read(self) -> Bases:
        """Which bases are to be followed."""
        return self._view.of(cast("bytes | None", self._redis.get(LIVE_KEY)))

    def record(self) -> StoredBases | None:
        """What is stored, of whatever configured basis."""
        return StoredBases.of(cast("bytes | None", self._redis.get(LIVE_KEY)))

    def write(self, bases: Bases) -> None:
        """Have all processes follow these bases, within their setting `follow_s`."""
        self._redis.set(LIVE_KEY, StoredBases(self.configured.version, bases).to_json())

    def claim(self) -> None:
        """At the start of a process: replace what is stored of another configured basis, for all processes."""

        def claimed(pipe: Pipeline) -> None:
            record = StoredBases.of(cast("bytes | None", pipe.get(LIVE_KEY)))
            pipe.multi()
            if record is not None and record.configured != self.configured.version:
                pipe.set(LIVE_KEY, record.claimed(self.configured).to_json())

        self._redis.transaction(claimed, LIVE_KEY)

    def report(self, part: str, errors: dict[str, str]) -> None:
        """Say which bases this process follows.

        Args:
            part: of the system, such as `learner`.
            errors: by version, why the basis can't be followed; an empty text if it is followed.
        """
        pipe = self._redis.pipeline(transaction=False)
        for version, error in errors.items():
            pipe.hset(followers_key(version), follower(part), error)
            pipe.expire(followers_key(version), FOLLOWERS_TTL_S)
        pipe.execute()

    def followers(self, version: str) -> dict[str, str]:
        """What followers have reported of a basis since `clear_followers`: by name, why it can't be followed."""
        found = cast("dict[bytes, bytes]", self._redis.hgetall(followers_key(version)))
        return {name.decode(): error.decode() for name, error in found.items()}

    def clear_followers(self, version: str) -> None:
        """Delete what followers have reported of a basis; they report again at their next step."""
        self._redis.delete(followers_key(version))


def groups_of(basis: Basis, configured: str, settings: LearningSettings) -> Groups:
    """The consumer groups of a basis; the setting `learner_group` is for the configured version alone."""
    groups = Groups.of(basis)
    if basis.version == configured and settings.learner_group:
        return replace(groups, signals=settings.learner_group)
    return groups


def live_basis(folder: Path, redis: Redis) -> Basis:
    """The basis that is live for processes whose configured basis is in `folder`.

    Raises:
        slop.basis.InvalidBasis: there is no usable basis.
        redis.exceptions.RedisError: Redis is away.
    """
    return LiveBases(redis, BasisRef.of(folder)).read().live.load()
