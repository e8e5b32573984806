"""Decoding and checking the records of slop.signals.v1."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, islice
from typing import Final, Self

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from slop.basis import Basis
from slop.latent import usable
from slop.recent import content_of, event_digest
from slop.v1.signal_pb2 import Signal

Floats = npt.NDArray[np.float32]

CHUNK: Final = 2_000  # records that `learnable` decodes at a time


class Reason(StrEnum):
    """Why a record can't be learned, as slop.rejected.v1 says it."""

    NOT_PROTOBUF = "not_protobuf"
    WRONG_LENGTH = "wrong_length"
    NOT_FINITE = "not_finite"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, order=True)
class RejectedRecord:
    """A record that can't be learned.

    Attributes:
        index: of the record among those given.
        reason: why.
        detail: what exactly is wrong, for people.
    """

    index: int
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class SignalBatch:
    """The N signals of a batch of records that can be learned, in the order of the records, and what the others are.

    Attributes:
        signals: the N messages.
        features: (N, F) float32, of their posts; like labels and weights `slop.latent.usable`.
        labels: (N,) float32.
        weights: (N,) float32.
        other_basis: how many signals were left out because they are of another basis.
        rejected: the records that can't be learned, in order.
    """

    signals: list[Signal]
    features: Floats
    labels: Floats
    weights: Floats
    other_basis: int = 0
    rejected: tuple[RejectedRecord, ...] = ()

    @classmethod
    def of(cls, values: Sequence[bytes | None], basis: str, size: int) -> Self:
        """Decode and check records.

        Args:
            values: the records' values.
            basis: version of the basis under which signals are learned.
            size: F of that basis.
        """
        rejected: list[RejectedRecord] = []
        decoded = [
            (index, signal) for index, value in enumerate(values) if (signal := _decoded(index, value, rejected))
        ]
        ours = [(index, signal) for index, signal in decoded if signal.basis == basis]
        whole = [(index, signal) for index, signal in ours if _is_whole(index, signal, size, rejected)]
        signals = [signal for _, signal in whole]
        features = _floats(chain.from_iterable(s.features for s in signals), len(whole) * size).reshape(-1, size)
        labels = _floats((s.label for s in signals), len(whole))
        weights = _floats((s.weight for s in signals), len(whole))
        good = usable(features, labels, weights)
        detail = "a feature, the label or the weight is not finite or out of bounds"
        rejected += [RejectedRecord(whole[row][0], Reason.NOT_FINITE, detail) for row in np.flatnonzero(~good).tolist()]
        return cls(
            signals=[signal for signal, fits in zip(signals, good.tolist(), strict=True) if fits],
            features=features[good],
            labels=labels[good],
            weights=weights[good],
            other_basis=len(decoded) - len(ours),
            rejected=tuple(sorted(rejected)),
        )


def signal_digest(signal: Signal) -> bytes:
    """The digest of a signal's event, 8 bytes, by which a retry is recognised (`slop.recent.event_digest`)."""
    if not signal.decision:
        return event_digest(signal.event_id)
    content = content_of(signal.decision, signal.label, signal.weight, signal.withdraws)
    return event_digest(signal.event_id, content)


def learnable(values: Iterable[bytes | None], basis: Basis) -> Iterator[Signal]:
    """The signals under a basis among the values of records, without those that can't be learned; retries included."""
    values = iter(values)
    while chunk := list(islice(values, CHUNK)):
        yield from SignalBatch.of(chunk, basis.version, basis.feature_count).signals


def _decoded(index: int, value: bytes | None, rejected: list[RejectedRecord]) -> Signal | None:
    """The signal of a record; None if it is none, which is added to `rejected`."""
    if not value:
        rejected.append(RejectedRecord(index, Reason.NOT_PROTOBUF, "it is empty"))
        return None
    try:
        return Signal.FromString(value)
    except DecodeError as error:
        rejected.append(RejectedRecord(index, Reason.NOT_PROTOBUF, str(error)))
    except Exception as error:  # whatever else a record raises, the others are learned
        rejected.append(RejectedRecord(index, Reason.FAILED, f"{type(error).__name__}: {error}"))
    return None


def _is_whole(index: int, signal: Signal, size: int, rejected: list[RejectedRecord]) -> bool:
    """Whether a signal has a source and `size` features; if not, it is added to `rejected`."""
    if len(signal.features) != size:
        rejected.append(RejectedRecord(index, Reason.WRONG_LENGTH, f"{len(signal.features)} features, not {size}"))
    elif not signal.HasField("source"):
        rejected.append(RejectedRecord(index, Reason.FAILED, "it has no source"))
    else:
        return True
    return False


def _floats(values: Iterable[float], count: int) -> Floats:
    return np.fromiter(values, dtype=np.float32, count=count)
