"""The format of a snapshot: gzip over length-delimited protobuf messages (slop/v1/snapshot.proto), a header first."""

import gzip
import zlib
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import IO, Final, cast

from google.protobuf.message import DecodeError
from google.protobuf.proto import parse_length_prefixed, serialize_length_prefixed

from slop.redis.profiles import ArchivedUser, User
from slop.v1.interaction_pb2 import Interaction
from slop.v1.snapshot_pb2 import SnapshotHeader, SnapshotUser

FORMAT: Final = 1
COMPRESSION: Final = 3  # a higher level hardly makes floats smaller


class InvalidSnapshot(ValueError):  # noqa: N818
    """A file that is no snapshot, is of another format, or is damaged."""


def write_snapshot(
    target: IO[bytes], basis: str, taken_at_ms: int, users: Iterable[ArchivedUser], parked: Iterable[Interaction] = ()
) -> int:
    """Write a snapshot, with the interactions that are parked; returns how many users are in it."""
    count = 0
    waiting = [interaction.SerializeToString(deterministic=True) for interaction in parked]
    with gzip.GzipFile(fileobj=target, mode="wb", compresslevel=COMPRESSION, mtime=0) as packed:
        output = cast("BytesIO", packed)  # the stub asks for BytesIO; any buffered file works
        serialize_length_prefixed(
            SnapshotHeader(format=FORMAT, basis=basis, taken_at_ms=taken_at_ms, parked=waiting), output
        )
        for user in users:
            serialize_length_prefixed(_record(user), output)
            count += 1
    return count


def read_snapshot(path: Path) -> tuple[SnapshotHeader, Iterator[ArchivedUser]]:
    """The header, and the users while the file is read.

    Raises:
        InvalidSnapshot: here, or while the users are read.
        OSError: the file can't be opened.
    """
    records = _records(path)
    header = next(records, None)
    if not isinstance(header, SnapshotHeader) or header.format != FORMAT:
        raise InvalidSnapshot(f"{path} is no snapshot of format {FORMAT}")
    return header, (_user(record) for record in records if isinstance(record, SnapshotUser))


def _records(path: Path) -> Iterator[SnapshotHeader | SnapshotUser]:
    try:
        with gzip.open(path) as packed:
            source = cast("BytesIO", packed)
            yield parse_length_prefixed(SnapshotHeader, source) or SnapshotHeader()
            while (record := parse_length_prefixed(SnapshotUser, source)) is not None:
                yield record
    except (EOFError, gzip.BadGzipFile, zlib.error, DecodeError, ValueError) as error:
        raise InvalidSnapshot(f"{path} is damaged: {error}") from error


def _record(user: ArchivedUser) -> SnapshotUser:
    return SnapshotUser(tenant=user.user.tenant, user_id=user.user.user_id, profile=user.profile, recent=user.recent)


def _user(record: SnapshotUser) -> ArchivedUser:
    return ArchivedUser(User(record.tenant, record.user_id), record.profile, record.recent)
