"""A reader's latent and its online update, vectorised over readers.

The latent is a vector of weights over the basis' K soft prompts and, last, the reader's own bias b_u, with an
independent Gaussian posterior N(mean, variance) for each: Bayesian logistic regression by assumed-density filtering
with the probit approximation (MacKay 1992, "The evidence framework applied to classification networks", moderated
output; diagonal as in Graepel et al. 2010, "Web-scale Bayesian click-through rate prediction", adPredictor).

The same reader's signals give the same bytes, whatever other readers are in the batch: every operation is elementwise
over readers and sums run over the dimensions in a fixed order, never through BLAS.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from slop.v1.profile_pb2 import Profile as ProfileRecord

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


class InvalidProfile(ValueError):  # noqa: N818
    """A stored profile that must not be used: broken bytes, wrong length, or values that are not finite."""


@dataclass(frozen=True, slots=True)
class Prior:
    """What is believed of a reader before the first signal.

    Attributes:
        mean: (D,) float64; the crowd's direction c, and 0 for the bias.
        variance: (D,) float64, all > 0.
        forgetting: share of the distance to the prior that is kept per signal, in (0, 1].
    """

    mean: Doubles
    variance: Doubles
    forgetting: float

    @classmethod
    def of(cls, crowd: npt.ArrayLike, variance: float, bias_variance: float, forgetting: float) -> Self:
        """The prior of a basis with crowd direction `crowd`, shape (K,)."""
        mean = np.append(np.asarray(crowd, dtype=np.float64), 0.0)
        variances = np.full(mean.size, variance)
        variances[-1] = bias_variance
        return cls(mean, variances, forgetting)


@dataclass(frozen=True, slots=True)
class Profile:
    """One reader's latent with its counts; `partition` and `offset` are of the last signal that was applied.

    Attributes:
        basis: version of the basis that the latent is over.
        mean: (K + 1,) float32, the bias last.
        variance: (K + 1,) float32, all > 0.
    """

    basis: str
    mean: Floats
    variance: Floats
    interactions: int = 0
    version: int = 0
    updated_at_ms: int = 0
    partition: int = -1
    offset: int = -1

    @classmethod
    def new(cls, basis: str, prior: Prior) -> Self:
        """A reader of whom nothing is known."""
        return cls(basis, prior.mean.astype(np.float32), prior.variance.astype(np.float32))

    @property
    def weights(self) -> Floats:
        """(K,) weights over the basis, without the bias."""
        return self.mean[:-1]

    def moved(self, mean: Floats, variance: Floats, *, signals: int, at_ms: int, partition: int, offset: int) -> Self:
        """The profile after `signals` more signals."""
        return replace(
            self,
            mean=mean,
            variance=variance,
            interactions=self.interactions + signals,
            version=self.version + 1,
            updated_at_ms=at_ms,
            partition=partition,
            offset=offset,
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
        )
        record.source.partition, record.source.offset = self.partition, self.offset
        return record.SerializeToString(deterministic=True)

    @classmethod
    def from_bytes(cls, data: bytes, dimensions: int) -> Self:
        """Decode and check a stored profile of `dimensions` = K + 1.

        Raises:
            InvalidProfile: the bytes are broken, or a value is not usable.
        """
        try:
            record = ProfileRecord.FromString(data)
            mean = np.frombuffer(record.mean, dtype="<f4").astype(np.float32)
            variance = np.frombuffer(record.variance, dtype="<f4").astype(np.float32)
        except Exception as error:  # protobuf and NumPy raise their own kinds
            raise InvalidProfile(f"broken bytes: {error}") from error
        if mean.shape != (dimensions,) or variance.shape != (dimensions,):
            raise InvalidProfile(f"length {mean.size} and {variance.size} where the basis has {dimensions}")
        if not (np.isfinite(mean).all() and np.isfinite(variance).all() and (variance > 0).all()):
            raise InvalidProfile("values that are not finite, or variances that are not positive")
        return cls(
            basis=record.basis,
            mean=mean,
            variance=variance,
            interactions=record.interactions,
            version=record.version,
            updated_at_ms=record.updated_at_ms,
            partition=record.source.partition,
            offset=record.source.offset,
        )


def update(
    mean: Floats, variance: Floats, features: Floats, label: Floats, weight: Floats, prior: Prior
) -> tuple[Floats, Floats]:
    """Learn one signal for each of U readers.

    With x the features and a constant 1 for the bias, f = mean . x, v = x' diag(variance) x,
    p = sigmoid(f / sqrt(1 + pi v / 8)), h = p (1 - p) and the signal's weight w:
    mean += w (y - p) variance x / (1 + w h v), variance -= w h (variance x)^2 / (1 + w h v),
    after forgetting: mean moves to the prior by the share 1 - g, variance by 1 - g^2.

    Args:
        mean: (U, D) float32 before.
        variance: (U, D) float32 before.
        features: (U, D - 1) float32.
        label: (U,) float32 in [0, 1].
        weight: (U,) float32, >= 0.
        prior: what readers are forgotten to.

    Returns:
        mean and variance after, (U, D) float32.
    """
    kept = prior.forgetting
    m = prior.mean + kept * (mean.astype(np.float64) - prior.mean)
    s = prior.variance + kept**2 * (variance.astype(np.float64) - prior.variance)
    x = np.ones_like(m)
    x[:, :-1] = features
    y, w = label.astype(np.float64), weight.astype(np.float64)

    f, v = ordered_sum(m * x), ordered_sum(s * x * x)
    p = sigmoid(f / np.sqrt(1 + np.pi * v / 8))
    h = p * (1 - p)
    gain = s * x / (1 + w * h * v)[:, None]
    m = m + (w * (y - p))[:, None] * gain
    s = s - (w * h)[:, None] * gain * s * x
    return m.astype(np.float32), s.astype(np.float32)


def ordered_sum(values: Doubles) -> Doubles:
    """Row sums of a (U, D) array, added from left to right whatever U is. Returns (U,)."""
    total = values[:, 0].copy()
    for column in values.T[1:]:
        total += column
    return total


def sigmoid(z: Doubles) -> Doubles:
    """1 / (1 + exp(-z)), without overflow."""
    positive: Doubles = 1 / (1 + np.exp(-np.abs(z)))
    return np.where(z >= 0, positive, 1 - positive)


def scores(profile: Profile, features: Floats) -> Doubles:
    """How much each of N posts is to a reader's taste: mean . x. The crowd's direction is the mean's prior.

    Args:
        profile: the reader.
        features: (N, K) float32.

    Returns:
        (N,) float64; higher is better.
    """
    return features.astype(np.float64) @ profile.weights.astype(np.float64)
