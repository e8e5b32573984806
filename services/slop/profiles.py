"""A reader's latent and its online update, vectorised over readers.

The latent is a vector of weights over a block of a post's features and, last, the reader's own bias b_u, with an
independent Gaussian posterior N(mean, variance) for each: Bayesian logistic regression by assumed-density filtering
with the probit approximation (MacKay 1992, "The evidence framework applied to classification networks", moderated
output; diagonal as in Graepel et al. 2010, "Web-scale Bayesian click-through rate prediction", adPredictor).

A latent may have several blocks, one after the other, which learn the same signals without each other: what one block
explains is not taken from the other, so that the prompts' weights are the same whatever factors rank posts.

The same reader's signals give the same bytes, whatever other readers are in the batch and whatever machine computes:
every operation is elementwise over readers, sums run over the dimensions in a fixed order, never through BLAS, and only
operations that IEEE 754 rounds correctly are used (so an own exponential: libraries and instruction sets differ).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from slop.v1.profile_pb2 import Profile as ProfileRecord
from slop.v1.signal_pb2 import Source

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

# Beyond these a signal is no signal: features have mean norm 1, a like the weight 1. They keep the arithmetic finite.
MAX_FEATURE: Final = 1e3
MAX_WEIGHT: Final = 1e2

# Of so many logs' partitions a profile knows how far it has learned them: a reader is in one of each log, and in one
# more whenever the topic is given more partitions.
MOST_SOURCES: Final = 16

# exp(x) = 2^n exp(r) with x = n ln 2 + r; ln 2 in two parts (as in fdlibm), so that n times the first is exact.
_LN2_HIGH: Final = 6.93147180369123816490e-01
_LN2_LOW: Final = 1.90821492927058770002e-10
_EXP_TERMS: Final = tuple(1 / math.factorial(k) for k in range(13, -1, -1))
_SMALLEST_EXPONENT: Final = -700.0


class InvalidProfile(ValueError):  # noqa: N818
    """A stored profile that must not be used: broken bytes, wrong length, or values that are not finite."""


class Block(NamedTuple):
    """Features that learn together: how many, and how much they count in a post's score."""

    size: int
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Prior:
    """What is believed of a reader before the first signal.

    Attributes:
        mean: (D,) float64; for each block the crowd's direction c, and 0 for the bias.
        variance: (D,) float64, all > 0.
        forgetting: for each block the share of the distance to the prior that is kept per signal, in (0, 1].
        sizes: how many features each block has; D is their sum and one bias for each.
    """

    mean: Doubles
    variance: Doubles
    forgetting: tuple[float, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(
        cls,
        crowd: npt.ArrayLike,
        variance: float,
        bias_variance: float,
        forgetting: float,
        spread: npt.ArrayLike = 1.0,
    ) -> Self:
        """The prior of one block with crowd direction `crowd`, (F,), and `spread`, (F,), which `variance` is times."""
        mean = np.append(np.asarray(crowd, dtype=np.float64), 0.0)
        variances = np.full(mean.size, bias_variance)
        variances[:-1] = variance * np.asarray(spread, dtype=np.float64)
        return cls(mean, variances, (forgetting,), (mean.size - 1,))

    def joined(self, other: Self) -> Self:
        """The prior of this one's blocks and the other's after them."""
        mean, variance = np.append(self.mean, other.mean), np.append(self.variance, other.variance)
        return replace(
            self,
            mean=mean,
            variance=variance,
            forgetting=self.forgetting + other.forgetting,
            sizes=self.sizes + other.sizes,
        )

    def blocks(self) -> Iterator[tuple[slice, slice, Self]]:
        """Each block's slice of the latent and of the features, and its own prior."""
        latent = features = 0
        for size, kept in zip(self.sizes, self.forgetting, strict=True):
            part = slice(latent, latent + size + 1)
            prior = replace(self, mean=self.mean[part], variance=self.variance[part], forgetting=(kept,), sizes=(size,))
            yield part, slice(features, features + size), prior
            latent, features = latent + size + 1, features + size


class Applied(NamedTuple):
    """How far a partition of slop.interactions.v1 was applied: the offset of the last signal, inclusive.

    The epoch tells which log it is: one that is lost and created anew begins at offset 0 again, under another epoch.
    """

    epoch: int
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Profile:
    """One reader's latent with its counts; everything in it follows from the signals applied, not from when or how.

    A signal is applied if something follows from it: it is learned, takes a decision back, or confirms one.

    Attributes:
        basis: version of the basis that the latent is over.
        mean: (D,) float32, each block's bias last.
        variance: (D,) float32, all > 0.
        interactions: number of signals learned. One that replaces an earlier decision, as a longer dwell of the same
            view does, counts with it as one; a decision that is taken back stays counted, and counts anew when it is
            taken again.
        version: grows with every signal applied.
        updated_at_ms: when the newest signal applied was received.
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
        """A reader of whom nothing is known."""
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
            signals: how many were learned that count as interactions.
            at_ms: when the newest signal applied was received.
            applied: how far each partition was applied, all of them, the latest last.
            changes: how many were applied; None: as many as were learned.
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
        """The stored form, the protobuf message slop.v1.Profile."""
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
        """Decode and check a stored profile of `dimensions` = D.

        Raises:
            InvalidProfile: the bytes are broken, or a value is not usable.
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
    """As stored; a profile from before there were epochs has one source, whose epoch reads as 0."""
    before = [record.source] if record.HasField("source") and record.source.offset >= 0 else []
    return tuple(Applied(at.epoch, at.partition, at.offset) for at in [*before, *record.sources][-MOST_SOURCES:])


class Beliefs(NamedTuple):
    """What the blocks believed of a signal of each of U readers before they learned it.

    Attributes:
        probability: (U, B) float64, p: of a like.
        spread: (U, B) float64, v: the variance of the latent score that it follows from.
    """

    probability: Doubles
    spread: Doubles


def update(
    mean: Floats, variance: Floats, features: Floats, label: Floats, weight: Floats, prior: Prior
) -> tuple[Floats, Floats, Doubles]:
    """Learn one signal for each of U readers, as `learned` does.

    Returns:
        mean and variance after, (U, D) float32, and p, the probability of a like that the last block predicted, (U,).
    """
    mean, variance, beliefs = learned(mean, variance, features, label, weight, prior)
    return mean, variance, beliefs.probability[:, -1]


def learned(
    mean: Floats, variance: Floats, features: Floats, label: Floats, weight: Floats, prior: Prior
) -> tuple[Floats, Floats, Beliefs]:
    """Learn one signal for each of U readers, block by block.

    With x the features and a constant 1 for the bias, f = mean . x, v = x' diag(variance) x,
    p = sigmoid(f / sqrt(1 + pi v / 8)), h = p (1 - p) and the signal's weight w:
    mean += w (y - p) variance x / (1 + w h v), variance -= w h (variance x)^2 / (1 + w h v),
    after forgetting: mean moves to the prior by the share 1 - g, variance by 1 - g^2.
    The variance stays positive and, forgetting apart, never grows.

    Args:
        mean: (U, D) float32 before.
        variance: (U, D) float32 before.
        features: (U, F) float32, at most MAX_FEATURE in size.
        label: (U,) float32 in [0, 1].
        weight: (U,) float32 in [0, MAX_WEIGHT].
        prior: what readers are forgotten to.

    Returns:
        mean and variance after, (U, D) float32, and what was believed before.
    """
    moved = [
        _learned_block(mean[:, latent], variance[:, latent], features[:, part], label, weight, block)
        for latent, part, block in prior.blocks()
    ]
    means, variances, probabilities, spreads = zip(*moved, strict=True)
    beliefs = Beliefs(np.stack(probabilities, axis=1), np.stack(spreads, axis=1))
    return np.concatenate(means, axis=1), np.concatenate(variances, axis=1), beliefs


def _learned_block(
    mean: Floats, variance: Floats, features: Floats, label: Floats, weight: Floats, prior: Prior
) -> tuple[Floats, Floats, Doubles, Doubles]:
    (kept,) = prior.forgetting
    m = prior.mean + kept * (mean.astype(np.float64) - prior.mean)
    s = prior.variance + kept**2 * (variance.astype(np.float64) - prior.variance)
    x = with_bias(features)
    y, w = label.astype(np.float64), weight.astype(np.float64)

    parts = s * x * x
    f, v = ordered_sum(m * x), ordered_sum(parts)
    p = sigmoid(f / np.sqrt(1 + np.pi * v / 8))
    curvature = w * p * (1 - p)
    total = (1 + curvature * v)[:, None]
    m = m + (w * (y - p))[:, None] * (s * x / total)
    # s - curvature (s x)^2 / total, written so that rounding can't make it negative.
    s = s * ((1 + curvature[:, None] * np.maximum(v[:, None] - parts, 0)) / total)
    return m.astype(np.float32), s.astype(np.float32), p, v


def with_bias(features: Floats) -> Doubles:
    """The features (U, F) and after them the bias' constant 1, (U, F + 1)."""
    x = np.ones((features.shape[0], features.shape[1] + 1))
    x[:, :-1] = features
    return x


def usable(features: Floats, label: Floats, weight: Floats) -> npt.NDArray[np.bool_]:
    """Which of N signals `update` may learn: finite and within bounds.

    Args:
        features: (N, F) float32.
        label: (N,) float32.
        weight: (N,) float32.

    Returns:
        (N,) bool.
    """
    fits = (np.abs(features) <= MAX_FEATURE).all(axis=1)  # NaN compares as false, here and below
    return np.asarray(fits & (label >= 0) & (label <= 1) & (weight >= 0) & (weight <= MAX_WEIGHT))


def ordered_sum(values: Doubles) -> Doubles:
    """Sums of the rows of (U, D), (U,): added from left to right whatever U is, which `sum` does not promise."""
    running: Doubles = np.add.accumulate(values, axis=1)
    return running[:, -1]


def sigmoid(z: Doubles) -> Doubles:
    """1 / (1 + exp(-z)), without overflow."""
    positive: Doubles = 1 / (1 + exp_of_negative(-np.abs(z)))
    return np.where(z >= 0, positive, 1 - positive)


def exp_of_negative(x: Doubles) -> Doubles:
    """exp(x) for x <= 0 to about 1 part in 10^15, the same bits everywhere; exp(-700) for anything below."""
    x = np.maximum(x, _SMALLEST_EXPONENT)
    n = np.rint(x / (_LN2_HIGH + _LN2_LOW))
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    value = np.full_like(r, _EXP_TERMS[0])
    for term in _EXP_TERMS[1:]:
        value = value * r + term
    result: Doubles = np.ldexp(value, n.astype(np.int32))
    return result


def scores(profile: Profile, features: Floats, blocks: Sequence[Block]) -> Doubles:
    """How much each of N posts is to a reader's taste: mean . x. The crowd's direction is the mean's prior.

    Args:
        profile: the reader.
        features: (N, F) float32.
        blocks: of the latent.

    Returns:
        (N,) float64; higher is better.
    """
    weights, latent = [], 0
    for size, share in blocks:
        weights.append(share * profile.mean[latent : latent + size].astype(np.float64))
        latent += size + 1
    return features.astype(np.float64) @ np.concatenate(weights)
