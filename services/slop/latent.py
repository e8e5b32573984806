"""The latent of a reader and how it learns a signal, for many readers at once.

A latent has B blocks of weights. Each block has one weight for every feature of its part of a post's features and,
last, the reader's bias. The weights of a block are independent Gaussians, N(mean, variance): a Bayesian logistic
regression with a diagonal covariance (as in adPredictor: Graepel et al. 2010, "Web-scale Bayesian click-through rate
prediction for sponsored search advertising in Microsoft's Bing search engine"), updated by one signal after the other
(assumed-density filtering).

For one reader and one block, let x be the features and a constant 1 for the bias, m and s the mean and the variance, y
the signal's label, w its weight, and g the block's forgetting. A signal changes m and s in two steps:

1. Forgetting. m and s go towards the prior: m <- m0 + g (m - m0), s <- s0 + g^2 (s - s0).
2. Learning. The score has the mean f = m . x and the variance v = sum(s x^2). The predicted probability of a like is
   p = sigmoid(f / sqrt(1 + pi v / 8)), the probit approximation (MacKay 1992, "The evidence framework applied to
   classification networks", the moderated output; Bishop 2006, "Pattern recognition and machine learning", section
   4.5.2, equations 4.149 to 4.155). Then follows one Newton step on the weighted log loss, whose gradient is
   -w (y - p) x and whose Hessian is h x x' with h = w p (1 - p). With t = 1 + h v, by the Sherman-Morrison formula:

       m <- m + w (y - p) s x / t
       s <- s - h s^2 x^2 / t

   Only the diagonal of the new covariance is kept. s stays positive and does not grow in this step.

Blocks learn the same signals without each other. So the weights over the text features, from which prompts are picked,
are the same whatever factors a basis has.

A reader's signals give the same bytes, whatever other readers are in the batch and whatever machine computes them
(`slop.reproducible`).

Shapes: U readers, F features of a post, B blocks, D = F + B weights of a latent.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from slop.reproducible import Doubles, ordered_sum, sigmoid

Floats = npt.NDArray[np.float32]

# Signals with larger features or weights are rejected, so that the arithmetic stays finite. For comparison, features
# have a mean norm of 1, and a like has the weight 1.
MAX_FEATURE: Final = 1e3
MAX_WEIGHT: Final = 1e2


class Block(NamedTuple):
    """A part of a post's features.

    Attributes:
        size: how many features it has.
        share: what its part of the score is multiplied with when posts are ranked.
    """

    size: int
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Prior:
    """The latent of a reader before the first signal.

    Attributes:
        mean: (D,) float64; the biases are 0.
        variance: (D,) float64, all > 0.
        forgetting: B numbers in (0, 1]: the share of its distance to the prior that a block keeps at each signal.
        sizes: how many features each block has; D is their sum + B.
    """

    mean: Doubles
    variance: Doubles
    forgetting: tuple[float, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(
        cls,
        mean: npt.ArrayLike,
        variance: float,
        bias_variance: float,
        forgetting: float,
        spread: npt.ArrayLike = 1.0,
    ) -> Self:
        """The prior of a latent with one block.

        Args:
            mean: (F,), of the weights over the features.
            variance: of these weights.
            bias_variance: of the reader's bias.
            forgetting: in (0, 1].
            spread: (F,) or one number, what `variance` is multiplied with for each weight.
        """
        means = np.append(np.asarray(mean, dtype=np.float64), 0.0)
        variances = np.full(means.size, bias_variance)
        variances[:-1] = variance * np.asarray(spread, dtype=np.float64)
        return cls(means, variances, (forgetting,), (means.size - 1,))

    def joined(self, other: Self) -> Self:
        """The prior of a latent with this one's blocks, then the other's."""
        return replace(
            self,
            mean=np.append(self.mean, other.mean),
            variance=np.append(self.variance, other.variance),
            forgetting=self.forgetting + other.forgetting,
            sizes=self.sizes + other.sizes,
        )

    def blocks(self) -> Iterator[tuple[slice, slice, Self]]:
        """For each block its slice of the latent, its slice of the features, and its own prior."""
        latent = features = 0
        for size, forgetting in zip(self.sizes, self.forgetting, strict=True):
            part = slice(latent, latent + size + 1)
            prior = replace(
                self,
                mean=self.mean[part],
                variance=self.variance[part],
                forgetting=(forgetting,),
                sizes=(size,),
            )
            yield part, slice(features, features + size), prior
            latent, features = latent + size + 1, features + size


class Beliefs(NamedTuple):
    """What each block predicted of U signals before it learned them.

    Attributes:
        probability: (U, B) float64, the predicted probability p of a like.
        spread: (U, B) float64, the variance v of the score.
    """

    probability: Doubles
    spread: Doubles


def update(
    mean: Floats, variance: Floats, features: Floats, label: Floats, weight: Floats, prior: Prior
) -> tuple[Floats, Floats, Doubles]:
    """Learn one signal for each of U readers.

    Args:
        mean: as of `learned`, like all others.
        variance: likewise.
        features: likewise.
        label: likewise.
        weight: likewise.
        prior: likewise.

    Returns:
        mean and variance after the signals, (U, D) float32, and the probability of a like that the last block had
        predicted, (U,) float64.
    """
    mean, variance, beliefs = learned(mean, variance, features, label, weight, prior)
    return mean, variance, beliefs.probability[:, -1]


def learned(
    mean: Floats, variance: Floats, features: Floats, label: Floats, weight: Floats, prior: Prior
) -> tuple[Floats, Floats, Beliefs]:
    """Learn one signal for each of U readers, by the formulas at the top of this module.

    Args:
        mean: (U, D) float32, before the signals.
        variance: (U, D) float32, before the signals.
        features: (U, F) float32, of the signals' posts, at most MAX_FEATURE in absolute value.
        label: (U,) float32 in [0, 1].
        weight: (U,) float32 in [0, MAX_WEIGHT].
        prior: of the readers.

    Returns:
        mean and variance after the signals, (U, D) float32, and what was predicted of the signals.
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
    """One block: with N features, mean and variance are (U, N + 1) and features (U, N); returns m, s, p and v."""
    (g,) = prior.forgetting
    m = prior.mean + g * (mean.astype(np.float64) - prior.mean)
    s = prior.variance + g**2 * (variance.astype(np.float64) - prior.variance)
    x = with_bias(features)
    y, w = label.astype(np.float64), weight.astype(np.float64)

    parts = s * x * x
    f, v = ordered_sum(m * x), ordered_sum(parts)
    p = sigmoid(f / np.sqrt(1 + np.pi * v / 8))
    h = w * p * (1 - p)
    t = (1 + h * v)[:, None]
    m = m + (w * (y - p))[:, None] * (s * x / t)
    # s - h s^2 x^2 / t, as a product of positive numbers, so that rounding can't make it negative.
    s = s * ((1 + h[:, None] * np.maximum(v[:, None] - parts, 0)) / t)
    return m.astype(np.float32), s.astype(np.float32), p, v


def with_bias(features: Floats) -> Doubles:
    """(U, N) features to (U, N + 1) float64, with the bias' constant 1 last."""
    x = np.ones((features.shape[0], features.shape[1] + 1))
    x[:, :-1] = features
    return x


def usable(features: Floats, label: Floats, weight: Floats) -> npt.NDArray[np.bool_]:
    """Which of N signals `learned` may take: those whose values are finite and within bounds.

    Args:
        features: (N, F) float32.
        label: (N,) float32.
        weight: (N,) float32.

    Returns:
        (N,) bool.
    """
    fits = (np.abs(features) <= MAX_FEATURE).all(axis=1)  # NaN compares as false, here and below
    return np.asarray(fits & (label >= 0) & (label <= 1) & (weight >= 0) & (weight <= MAX_WEIGHT))
