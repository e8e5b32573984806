"""Which basis is live, which other one is learned beside it, and who follows: the small state of a rollout, in Redis.

The processes' setting `basis_dir` names the basis that they begin with. A rollout (`jobs.rollout`) names another, in
one record that also tells the configured one's version: who was started with another `basis_dir` has that one, whatever
was rolled out before, and so has everybody who is started with it after.
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
"""Where Redis keeps which bases are followed."""
FOLLOWERS_TTL_S: Final = 3_600


def followers_key(basis: str) -> str:
    """Who follows a basis, and what is in the way of those who can't."""
    return f"slop:followers:{basis}"


@dataclass(frozen=True, slots=True)
class BasisRef:
    """A basis by its version, and the folder where every process finds it."""

    version: str
    folder: str

    @classmethod
    def of(cls, folder: Path) -> Self:
        """The basis of a folder.

        Raises:
            slop.basis.InvalidBasis: there is no usable one.
        """
        return cls(Basis.load(folder).version, str(folder.absolute()))

    def load(self) -> Basis:
        """Read the basis.

        Raises:
            slop.basis.InvalidBasis: it is not there, or another one is.
        """
        basis = Basis.load(Path(self.folder))
        if basis.version != self.version:
            raise InvalidBasis(f"{self.folder} has the basis {basis.version}, not {self.version}")
        return basis


@dataclass(frozen=True, slots=True)
class Bases:
    """What the processes follow.

    Attributes:
        live: what readers are answered with, and their signals counted under.
        beside: what is learned too: the next basis until it is live, and the former one for a moment after.
        before: what was live before, and may be again.
    """

    live: BasisRef
    beside: BasisRef | None = None
    before: BasisRef | None = None

    @property
    def followed(self) -> dict[str, BasisRef]:
        """The places by version, the live one first."""
        return {place.version: place for place in (self.live, self.beside) if place is not None}


@dataclass(frozen=True, slots=True)
class StoredBases:
    """What is stored.

    Attributes:
        configured: the version of the basis that the processes were started with when it was written.
        bases: what they follow.
    """

    configured: str
    bases: Bases

    def to_json(self) -> str:
        """As it is stored."""
        return json.dumps({"configured": self.configured, **asdict(self.bases)})

    @classmethod
    def of(cls, stored: str | bytes | None) -> Self | None:
        """From what is stored; nothing is, before the first rollout."""
        if stored is None:
            return None
        fields = json.loads(stored)
        configured = fields.pop("configured")
        return cls(
            configured, Bases(**{name: BasisRef(**place) for name, place in fields.items() if place is not None})
        )

    def claimed(self, configured: BasisRef) -> "StoredBases":
        """For processes that were started with another basis: what was live before it is known only if it was live."""
        live = self.bases.live.version == configured.version
        return StoredBases(configured.version, replace(self.bases, beside=None) if live else Bases(configured))


class BasesView:
    """What a process follows by the record."""

    def __init__(self, configured: BasisRef) -> None:
        """Of a process whose settings' `basis_dir` has `configured`."""
        self.configured, self._joined = configured, False

    def of(self, stored: str | bytes | None) -> Bases:
        """By the record, once it was one of the process' own configured basis; until then that basis.

        Who is at work while others are started with another `basis_dir` goes with them.
        """
        record = StoredBases.of(stored)
        self._joined |= record is not None and record.configured == self.configured.version
        return record.bases if record is not None and self._joined else Bases(self.configured)


def follower(part: str) -> str:
    """The name of this process as a follower."""
    return f"{part}@{socket.gethostname()}:{os.getpid()}"


class LiveBases:
    """The state as a process without an event loop reads and writes it."""

    def __init__(self, redis: Redis, configured: BasisRef) -> None:
        """`configured` is what the settings' `basis_dir` has; every call may raise redis.exceptions.RedisError."""
        self._redis, self.configured, self._sight = redis, configured, BasesView(configured)

    def read(self) -> Bases:
        """What is to be followed."""
        return self._sight.of(cast("bytes | None", self._redis.get(LIVE_KEY)))

    def record(self) -> StoredBases | None:
        """What is stored, of whatever configured basis."""
        return StoredBases.of(cast("bytes | None", self._redis.get(LIVE_KEY)))

    def write(self, bases: Bases) -> None:
        """Have it followed by everybody within their `follow_s`."""
        self._redis.set(LIVE_KEY, StoredBases(self.configured.version, bases).to_json())

    def claim(self) -> None:
        """As a process that begins: a record of another configured basis counts no more, for nobody."""

        def claimed(pipe: Pipeline) -> None:
            record = StoredBases.of(cast("bytes | None", pipe.get(LIVE_KEY)))
            pipe.multi()
            if record is not None and record.configured != self.configured.version:
                pipe.set(LIVE_KEY, record.claimed(self.configured).to_json())

        self._redis.transaction(claimed, LIVE_KEY)

    def tell(self, part: str, errors: dict[str, str]) -> None:
        """As a follower: by version, what is in the way of following it; an empty text if nothing is."""
        pipe = self._redis.pipeline(transaction=False)
        for version, error in errors.items():
            pipe.hset(followers_key(version), follower(part), error)
            pipe.expire(followers_key(version), FOLLOWERS_TTL_S)
        pipe.execute()

    def followers(self, version: str) -> dict[str, str]:
        """Who follows a basis since `forget`, by name, and what is in the way."""
        found = cast("dict[bytes, bytes]", self._redis.hgetall(followers_key(version)))
        return {name.decode(): error.decode() for name, error in found.items()}

    def forget(self, version: str) -> None:
        """Forget who follows a basis; they say so again."""
        self._redis.delete(followers_key(version))


def groups_of(basis: Basis, configured: str, settings: LearningSettings) -> Groups:
    """The consumer groups of a basis; a name of the learner's in the settings is for the configured version alone."""
    groups = Groups.of(basis)
    if basis.version == configured and settings.learner_group:
        return replace(groups, signals=settings.learner_group)
    return groups


def live_basis(folder: Path, redis: Redis) -> Basis:
    """The basis that is live for processes that are configured with the one in `folder`.

    Raises:
        slop.basis.InvalidBasis: there is no usable basis.
        redis.exceptions.RedisError: Redis is away.
    """
    return LiveBases(redis, BasisRef.of(folder)).read().live.load()
