"""Reads readers' profiles from Redis, and compares those of two stacks."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
import numpy.typing as npt
from redis import Redis

from slop.redis.profiles import profile_key
from slop.v1.profile_pb2 import Profile

TENANT: Final = "default"
TIMEOUT_S: Final = 5.0
SOURCES: Final = {"source", "sources"}
CLOSE: Final = 0.15
"""How far apart the weights of two latents may lie that learned the same signals in another order; they are about 1."""


class Store:
    """The profiles in one Redis."""

    def __init__(self, url: str, basis: str) -> None:
        """Profiles under the basis with version `basis`."""
        self._redis, self._basis = Redis.from_url(url, socket_timeout=TIMEOUT_S), basis

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def profiles(self, readers: Sequence[str]) -> dict[str, Profile]:
        """The profiles of readers, of those who have one.

        Raises:
            redis.exceptions.RedisError: Redis is away.
        """
        pipe = self._redis.pipeline(transaction=False)
        for reader in readers:
            pipe.hget(profile_key(self._basis, TENANT, reader), "profile")
        found = zip(readers, cast("list[bytes | None]", pipe.execute()), strict=True)
        return {reader: Profile.FromString(data) for reader, data in found if data is not None}

    def learned(self, readers: Sequence[str]) -> dict[str, int]:
        """How many signals were learned of each; raises as `profiles` does."""
        found = self.profiles(readers)
        return {reader: found[reader].interactions if reader in found else 0 for reader in readers}


@dataclass(frozen=True, slots=True)
class Difference:
    """What some readers' profiles should have learned, and what they have not.

    Attributes:
        expected: signals.
        missing: of them, that were not learned.
        twice: signals that were learned more often than they were accepted.
        differing: readers whose profiles are not those of the clean replay, each with what is not.
    """

    expected: int
    missing: int
    twice: int
    differing: tuple[str, ...] = ()


def difference(expected: Mapping[str, int], learned: Mapping[str, int], differing: Sequence[str] = ()) -> Difference:
    """Compare counts of signals, by reader; `differing` is kept."""
    gaps = [count - learned.get(reader, 0) for reader, count in expected.items()]
    missing, twice = sum(max(0, gap) for gap in gaps), sum(max(0, -gap) for gap in gaps)
    return Difference(sum(expected.values()), missing, twice, tuple(differing))


def differing(
    there: Mapping[str, Profile], calm: Mapping[str, Profile], readers: Sequence[str], in_any_order: Collection[str]
) -> list[str]:
    """Readers whose profiles are not those of the clean replay, each with what is not.

    A reader without signals has no profile in either stack. The signals of readers `in_any_order` may have been learned
    in another order.
    """
    return [
        f"{reader} ({apart(there.get(reader), calm.get(reader))})"
        for reader in readers
        if not _equal(there.get(reader), calm.get(reader), reader in in_any_order)
    ]


def _equal(profile: Profile | None, other: Profile | None, in_any_order: bool) -> bool:
    if profile is None or other is None:
        return profile is other
    return (alike if in_any_order else same)(profile, other)


def same(profile: Profile, other: Profile) -> bool:
    """Whether two profiles are the same bytes, but for the id of the log."""
    return _without_epochs(profile) == _without_epochs(other)


def apart(profile: Profile | None, other: Profile | None) -> str:
    """In which fields two profiles differ, in words."""
    if profile is None or other is None:
        return "there is none" if profile is None else "there is one"
    fields = [field.name for field in Profile.DESCRIPTOR.fields if field.name not in SOURCES]
    differing = [name for name in fields if getattr(profile, name) != getattr(other, name)]
    differing += [f"source {_places(profile)}, not {_places(other)}"] if _places(profile) != _places(other) else []
    if "mean" in differing:
        differing.append(f"weights by up to {np.abs(_mean(profile) - _mean(other)).max():.2g}")
    return ", ".join(differing)


def alike(profile: Profile, other: Profile) -> bool:
    """Whether two profiles may have learned the same signals in another order."""
    return profile.interactions == other.interactions and bool(np.allclose(_mean(profile), _mean(other), atol=CLOSE))


def _places(profile: Profile) -> list[tuple[int, int]]:
    """How far each log's partitions have been learned, by partition and offset."""
    return [(source.partition, source.offset) for source in (profile.source, *profile.sources)]


def _mean(profile: Profile) -> npt.NDArray[np.float32]:
    return np.frombuffer(profile.mean, dtype="<f4")


def _without_epochs(profile: Profile) -> bytes:
    copy = Profile()
    copy.CopyFrom(profile)
    for source in (copy.source, *copy.sources):
        source.ClearField("epoch")
    return copy.SerializeToString(deterministic=True)
