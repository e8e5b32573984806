"""Undoing: taking a learned signal out of the latents of readers again.

It inverts `slop.latent.learned`, with the same symbols and the same promise: equal bytes on every machine. Of a learned
signal only a few numbers are remembered (`RememberedSignals`). Its features x come with the signal that has it undone,
which is about the same post.

For one reader, one block and k signals learned since:

- Variance. Learning made s' = s (1 - z) of s, where z = h x^2 s / t. With r = h x^2 s' / t this is z (1 - z) = r. So
  s = s' / (1 - z), and z is one of the two roots (1 -+ sqrt(1 - 4 r)) / 2. The z of all dimensions sum to h v / t < 1,
  so at most one of them is above 1/2. For all others, z is the smaller root.
- Mean. Learning added w (y - p) s x / t, with the s that is found.
- Forgetting. Each of the k later signals has multiplied what is left of the change of m by g, and of s by g^2. So it is
  taken with the share g^k in the mean, and g^2k in the variance. The forgetting of the signal's own step is undone with
  the same shares.

If k = 0 this is the exact inverse. Else it is an approximation: the exact one needs the variances of that time.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from slop.latent import Floats, Prior, with_bias
from slop.reproducible import Doubles, ordered_sum, power

# The variance before the last signal is at least this share of the prior's.
_LEAST_VARIANCE: Final = 2.0**-40


class RememberedSignals(NamedTuple):
    """What is remembered of one learned signal for each of U readers.

    Attributes:
        label: (U,) float32, y.
        weight: (U,) float32, w.
        probability: (U, B) float32, the p that each block had predicted.
        spread: (U, B) float32, the v that each block had predicted.
        since: (U,) int64, k: how many signals were learned since.
    """

    label: Floats
    weight: Floats
    probability: Floats
    spread: Floats
    since: npt.NDArray[np.int64]

    def of_block(self, at: int) -> "RememberedSignals":
        """The same with the probability and the spread of one block, (U,) each."""
        return self._replace(probability=self.probability[:, at], spread=self.spread[:, at])


def undone(
    mean: Floats, variance: Floats, features: Floats, remembered: RememberedSignals, prior: Prior
) -> tuple[Floats, Floats]:
    """Undo one signal for each of U readers.

    Args:
        mean: (U, D) float32, with the signals.
        variance: (U, D) float32, with the signals.
        features: (U, F) float32, of the signals' posts, at most `slop.latent.MAX_FEATURE` in absolute value.
        remembered: of the signals.
        prior: with which they were learned.

    Returns:
        mean and variance without the signals, (U, D) float32; the variance is in (0, the prior's]. If nothing was
        learned since, they are those from before, up to rounding.
    """
    blocks = [
        _undone_block(mean[:, latent], variance[:, latent], features[:, part], remembered.of_block(at), block)
        for at, (latent, part, block) in enumerate(prior.blocks())
    ]
    means, variances = zip(*blocks, strict=True)
    return np.concatenate(means, axis=1), np.concatenate(variances, axis=1)


def _undone_block(
    mean: Floats, variance: Floats, features: Floats, remembered: RememberedSignals, prior: Prior
) -> tuple[Floats, Floats]:
    """One block: with N features, mean and variance are (U, N + 1), features (U, N) and what is remembered (U,)."""
    (g,) = prior.forgetting
    p, v = remembered.probability.astype(np.float64), remembered.spread.astype(np.float64)
    y, w = remembered.label.astype(np.float64), remembered.weight.astype(np.float64)
    x, left = with_bias(features), power(g, remembered.since)  # left: g^k
    latest = remembered.since == 0

    h = w * p * (1 - p)
    t = 1 + h * v
    share = (h * left * left / t)[:, None] * (x * x)
    s = _variance_before(share, variance.astype(np.float64), h * v / t, latest)
    s = np.minimum(s, prior.variance)
    m = mean.astype(np.float64) - (w * (y - p) / t * left)[:, None] * (s * x)

    m = prior.mean + (m - prior.mean) * (1 + (1 / g - 1) * left)[:, None]
    before = prior.variance - (prior.variance - s) * (1 + (1 / (g * g) - 1) * left * left)[:, None]
    least = np.where(latest[:, None], _LEAST_VARIANCE * prior.variance, g * g * s)
    s = np.minimum(np.maximum(before, least), prior.variance)
    return m.astype(np.float32), np.minimum(s.astype(np.float32), prior.variance.astype(np.float32))


def _variance_before(share: Doubles, after: Doubles, whole: Doubles, latest: npt.NDArray[np.bool_]) -> Doubles:
    """The variance s that solves s (1 - share s) = after, elementwise.

    Args:
        share: (U, N + 1) float64, h x^2 g^2k / t.
        after: (U, N + 1) float64, the variance after the signal.
        whole: (U,) float64, h v / t: what z = share s sums to over the dimensions if k = 0.
        latest: (U,) bool, whether k = 0. Only then may one dimension take the larger root.

    Returns:
        (U, N + 1) float64.
    """
    r = np.minimum(share * after, 0.25)
    root = np.sqrt(1 - 4 * r)
    small = 2 * r / (1 + root)
    rest, rows = 1 - small, np.arange(len(r))
    most = np.argmax(r, axis=1)
    # The larger root in dimension `most` makes the sum of z larger by `root`; it is taken if that is nearer to `whole`.
    larger = latest & (whole - ordered_sum(small) > root[rows, most] / 2) & (small[rows, most] > 0)
    rest[rows, most] = np.where(larger, small[rows, most], rest[rows, most])
    before: Doubles = after / rest
    return before
