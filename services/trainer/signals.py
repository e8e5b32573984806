"""From records of slop.signals.v1 to signals that can be learned."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final, Self

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from slop.basis import Basis
from slop.profiles import usable
from slop.streams import Record
from slop.v1.signal_pb2 import Signal

Floats = npt.NDArray[np.float32]

CHUNK: Final = 2_000


@dataclass(frozen=True, slots=True)
class Batch:
    """N signals in the order of their records, and how many records were left out.

    Attributes:
        signals: N messages.
        features: (N, F) float32, finite and within bounds, as are the labels and weights.
        labels: (N,) float32.
        weights: (N,) float32.
        other_basis: signals whose features are of another basis.
        refused: records that are broken: not decodable, of a wrong length, not finite or out of bounds.
    """

    signals: list[Signal]
    features: Floats
    labels: Floats
    weights: Floats
    other_basis: int = 0
    refused: int = 0

    @classmethod
    def of(cls, values: Sequence[bytes | None], basis: str, size: int) -> Self:
        """Decode and check records.

        Args:
            values: the records' values.
            basis: version of the basis whose profiles are learned.
            size: F, how many features a signal has.
        """
        decoded = [signal for signal in map(_decoded, values) if signal is not None]
        ours = [signal for signal in decoded if signal.basis == basis]
        whole = [signal for signal in ours if len(signal.features) == size and signal.HasField("source")]
        features = _floats(chain.from_iterable(s.features for s in whole), len(whole) * size).reshape(-1, size)
        labels = _floats((s.label for s in whole), len(whole))
        weights = _floats((s.weight for s in whole), len(whole))
        good = usable(features, labels, weights)
        signals = [signal for signal, fits in zip(whole, good.tolist(), strict=True) if fits]
        return cls(
            signals=signals,
            features=features[good],
            labels=labels[good],
            weights=weights[good],
            other_basis=len(decoded) - len(ours),
            refused=len(values) - len(decoded) + len(ours) - len(signals),
        )


def learnable(records: Iterable[Record], basis: Basis) -> Iterator[Signal]:
    """The signals under a basis that the learner would learn, retries included."""
    records = iter(records)
    while chunk := list(islice(records, CHUNK)):
        yield from Batch.of([record.value for record in chunk], basis.version, basis.feature_count).signals


def _decoded(value: bytes | None) -> Signal | None:
    try:
        return Signal.FromString(value or b"")
    except DecodeError:
        return None


def _floats(values: Iterable[float], count: int) -> Floats:
    return np.fromiter(values, dtype=np.float32, count=count)
