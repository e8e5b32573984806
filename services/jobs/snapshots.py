"""Taking, keeping and restoring snapshots of all profiles under a basis.

A snapshot appears whole or not at all, and only its owner may read it. Its name says of which basis it is, when it was
begun (UTC), and how many profiles it has.
"""

import dataclasses
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final, Self

from google.protobuf.message import DecodeError

from jobs.limits import JobLimits
from jobs.snapshot_file import InvalidSnapshot, read_snapshot, write_snapshot
from slop.redis.profiles import ArchivedUser, ProfileArchive
from slop.v1.interaction_pb2 import Interaction
from slop.v1.profile_pb2 import Profile as ProfileRecord

BATCH: Final = 500
_TIME: Final = "%Y%m%dT%H%M%S.%fZ"
_NAME: Final = re.compile(
    r"profiles-(?P<basis>[0-9a-f]+(?:\.[0-9a-z]+)?)-(?P<begun>\d{8}T\d{6}\.\d{6}Z)-(?P<profiles>\d+)\.pb\.gz"
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot by what its file name says; the file need not exist."""

    basis: str
    begun: datetime
    profiles: int
    folder: Path

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / f"profiles-{self.basis}-{self.begun.strftime(_TIME)}-{self.profiles}.pb.gz"

    @classmethod
    def at(cls, path: Path) -> Self | None:
        """The snapshot of this name; None if it is no snapshot's name."""
        match = _NAME.fullmatch(path.name)
        if match is None:
            return None
        begun = datetime.strptime(match["begun"], _TIME).replace(tzinfo=UTC)
        return cls(match["basis"], begun, int(match["profiles"]), path.parent)


class SnapshotRefused(RuntimeError):  # noqa: N818
    """There are far fewer profiles than in the newest snapshot: some were lost, and the older snapshots are kept."""


def snapshots(folder: Path, basis: str, *, every: bool = False) -> list[Snapshot]:
    """The snapshots of a basis, newest first; with `every` those of all its relearnings."""
    found = filter(None, map(Snapshot.at, folder.glob("profiles-*")))
    wanted = (one for one in found if one.basis == basis or (every and _content(one.basis) == basis))
    return sorted(wanted, key=lambda one: one.begun, reverse=True)


def take_snapshot(
    archive: ProfileArchive,
    basis: str,
    folder: Path,
    kept: int,
    limits: JobLimits,
    least_share: float = 0.0,
    parked: Iterable[Interaction] = (),
) -> Snapshot:
    """Write all profiles into a new file, and remove what is older than the `kept` newest of this basis.

    The interactions that are parked, `parked`, are written first. Those that are parked meanwhile are not in it.

    Without any profile no file is written: snapshots of a Redis that has lost everything would push out the good ones.
    For the same reason a snapshot is refused that has fewer profiles than `least_share` times the newest one's, where
    the newest is that of any relearning of the basis.

    Raises:
        SnapshotRefused: too many profiles are missing; no file is left behind, and none is removed.
        jobs.limits.Interrupted: the worker stops; no file is left behind, as with the errors below.
        jobs.limits.TookTooLong: there are too many profiles.
        redis.exceptions.RedisError: Redis is away.
        OSError: the folder can't be written, or is full.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    begun = datetime.now(UTC)
    descriptor, unfinished = tempfile.mkstemp(prefix=".unfinished-", dir=folder)  # for its owner alone
    try:
        with os.fdopen(descriptor, "wb") as target:
            count = write_snapshot(target, basis, round(begun.timestamp() * 1_000), _exported(archive, limits), parked)
            target.flush()
            os.fsync(target.fileno())
        snapshot = Snapshot(basis, begun, count, folder)
        _require_enough(snapshot, least_share)
        if count:
            Path(unfinished).rename(snapshot.path)
    finally:
        Path(unfinished).unlink(missing_ok=True)
    _remove(snapshots(folder, _content(basis), every=True)[kept:])
    return snapshot


def restore_snapshot(
    path: Path, archive: ProfileArchive, basis: str, replace: bool = False, each: Callable[[], object] = lambda: None
) -> tuple[int, int]:
    """Store the profiles of a snapshot; the learner should not run meanwhile.

    A user who has a profile keeps it, unless `replace`. The whole file is read before anything is stored. `each` is
    called after each BATCH of users.

    Returns:
        How many were stored, and how many there are in the file.

    Raises:
        InvalidSnapshot: the file is damaged, or of another basis.
        redis.exceptions.RedisError: Redis is away; some may have been stored, and it may be done again.
        OSError: the file can't be read.
    """
    header, users = read_snapshot(path)
    if _content(header.basis) != _content(basis):
        raise InvalidSnapshot(f"{path} is of the basis {header.basis}, not of {basis}")
    total = sum(1 for _ in users)  # reads it to its checksum
    stored = 0
    for batch in _batches(read_snapshot(path)[1]):
        try:
            stored += archive.restore([_under(basis, user) for user in batch], replace)
        except DecodeError as error:
            raise InvalidSnapshot(f"{path} has a broken profile") from error
        each()
    return stored, total


def _content(version: str) -> str:
    """The version of a basis without its relearning (see `slop.basis.Basis`)."""
    return version.partition(".")[0]


def _require_enough(snapshot: Snapshot, least_share: float) -> None:
    for newest in snapshots(snapshot.folder, _content(snapshot.basis), every=True)[:1]:
        if snapshot.profiles < least_share * newest.profiles:
            raise SnapshotRefused(
                f"{snapshot.profiles:,} profiles, and {newest.profiles:,} in {newest.path.name}: less than "
                f"{least_share:.0%}. If that is right, remove the older snapshots; if not, `python -m jobs relearn`"
            )


def _under(basis: str, user: ArchivedUser) -> ArchivedUser:
    """A user whose profile is under another relearning of the basis that it was learned under.

    Raises:
        google.protobuf.message.DecodeError: the profile's bytes are broken.
    """
    record = ProfileRecord.FromString(user.profile)
    if record.basis == basis:
        return user
    record.basis = basis
    return dataclasses.replace(user, profile=record.SerializeToString(deterministic=True))


def _exported(archive: ProfileArchive, limits: JobLimits) -> Iterator[ArchivedUser]:
    for users in archive.users(BATCH):
        limits.check()
        yield from archive.export(users)


def _batches(users: Iterator[ArchivedUser]) -> Iterator[list[ArchivedUser]]:
    while batch := list(islice(users, BATCH)):
        yield batch


def _remove(old: Iterable[Snapshot]) -> None:
    for snapshot in old:
        with suppress(FileNotFoundError):  # another worker was faster
            snapshot.path.unlink()
