"""The profile of a reader: the latent with its counts, as it is stored in Redis.

`slop.latent` says what a latent is and how it learns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Self

import numpy as np
from google.protobuf.message import DecodeError

from slop.latent import Block, Floats, Prior
from slop.reproducible import Doubles
from slop.v1.profile_pb2 import Profile as ProfileRecord
from slop.v1.signal_pb2 import Source

# A profile remembers the last offset of at most so many partitions. All interactions of a reader are in one partition
# of a log; another one comes when the log is created anew, or when the topic gets more partitions.
MOST_SOURCES: Final = 16


class InvalidProfile(ValueError):  # noqa: N818
    """A stored profile that must not be used: broken bytes, wrong length, or values that are not finite."""


class Applied(NamedTuple):
    """How far a partition of slop.interactions.v1 was applied to a profile.

    Attributes:
        epoch: of the log; a log that is lost and created anew begins at offset 0 again, under another epoch.
        partition: its number.
        offset: of the last interaction that was applied.
    """

    epoch: int
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Profile:
    """A reader's latent and counts. They depend on the signals applied alone, not on the time or on batches.

    A signal is *applied* if it changes something: it is learned, withdraws a decision, or confirms one.

    Attributes:
        basis: version of the basis whose features the latent has weights for.
        mean: (D,) float32, each block's bias last.
        variance: (D,) float32, all > 0.
        interactions: number of signals learned. A signal that replaces an earlier decision, as a longer dwell of the
            same view does, is not counted again. A decision that is withdrawn stays counted, and is counted again when
            it is made again.
        version: number of signals applied.
        updated_at_ms: when the newest signal applied was received, in milliseconds since the Unix epoch.
        applied: how far each partition of each log was applied, the latest last, at most MOST_SOURCES of them.
    """

    basis: str
    mean: Floats
    variance: Floats
    interactions: int = 0
    version: int = 0
    updated_at_ms: int = 0
    applied: tuple[Applied, ...] = ()

    @classmethod
    def new(cls, basis: str, prior: Prior) -> Self:
        """The profile of a reader before the first signal."""
        return cls(basis, prior.mean.astype(np.float32), prior.variance.astype(np.float32))

    def moved(
        self,
        mean: Floats,
        variance: Floats,
        *,
        signals: int,
        at_ms: int,
        applied: Sequence[Applied] = (),
        changes: int | None = None,
    ) -> Self:
        """The profile after more signals.

        Args:
            mean: (D,) float32 after them.
            variance: (D,) float32 after them.
            signals: how many of them count as interactions.
            at_ms: when the newest signal applied was received, in milliseconds since the Unix epoch.
            applied: how far each partition was applied, also those that are not new, the latest last.
            changes: how many of them were applied; by default `signals`.
        """
        return replace(
            self,
            mean=mean,
            variance=variance,
            interactions=self.interactions + signals,
            version=self.version + (signals if changes is None else changes),
            updated_at_ms=at_ms,
            applied=tuple(applied[-MOST_SOURCES:]),
        )

    def to_bytes(self) -> bytes:
        """The bytes that are stored: the protobuf message slop.v1.Profile."""
        record = ProfileRecord(
            basis=self.basis,
            mean=self.mean.astype("<f4").tobytes(),
            variance=self.variance.astype("<f4").tobytes(),
            interactions=self.interactions,
            version=self.version,
            updated_at_ms=self.updated_at_ms,
            sources=(Source(epoch=at.epoch, partition=at.partition, offset=at.offset) for at in self.applied),
        )
        return record.SerializeToString(deterministic=True)

    @classmethod
    def from_bytes(cls, data: bytes, dimensions: int) -> Self:
        """Decode and check a stored profile.

        Args:
            data: from `to_bytes`.
            dimensions: D of the basis.

        Raises:
            InvalidProfile: the bytes are broken or of another length, or a value is not usable.
        """
        try:
            record = ProfileRecord.FromString(data)
        except DecodeError as error:
            raise InvalidProfile(f"broken bytes: {error}") from error
        if not len(record.mean) == len(record.variance) == 4 * dimensions:
            raise InvalidProfile(f"{len(record.mean)} and {len(record.variance)} bytes for {dimensions} dimensions")
        values = np.frombuffer(record.mean + record.variance, dtype="<f4").astype(np.float32, copy=False)
        mean, variance = values[:dimensions], values[dimensions:]
        if not (np.isfinite(values).all() and variance.min() > 0):
            raise InvalidProfile("values that are not finite, or variances that are not positive")
        return cls(
            basis=record.basis,
            mean=mean,
            variance=variance,
            interactions=record.interactions,
            version=record.version,
            updated_at_ms=record.updated_at_ms,
            applied=_applied(record),
        )


def _applied(record: ProfileRecord) -> tuple[Applied, ...]:
    """The stored sources; a profile from before there were epochs has one, whose epoch reads as 0."""
    before = [record.source] if record.HasField("source") and record.source.offset >= 0 else []
    return tuple(Applied(at.epoch, at.partition, at.offset) for at in [*before, *record.sources][-MOST_SOURCES:])


def scores(profile: Profile, features: Floats, blocks: Sequence[Block]) -> Doubles:
    """The scores by which N posts are ranked for a reader: sum over the blocks of share * (mean . features).

    The bias is the same for all posts and is left out.

    Args:
        profile: of the reader.
        features: (N, F) float32, of the posts.
        blocks: of the latent.

    Returns:
        (N,) float64; higher is better.
    """
    weights, latent = [], 0
    for size, share in blocks:
        weights.append(share * profile.mean[latent : latent + size].astype(np.float64))
        latent += size + 1
    return features.astype(np.float64) @ np.concatenate(weights)
