"""Taking a learned signal back out of a reader's latent, vectorised over readers.

It is the inverse of `slop.profiles.learned` and keeps its promises: elementwise over readers, sums in a fixed order,
only operations that IEEE 754 rounds correctly. Of the signal only scalars are remembered (`Taken`); its features come
again with the signal that takes it back, which is about the same post.

With c = w p (1 - p) and t = 1 + c v, learning made s' = s (1 - c x^2 s / t) of each variance s. With z = c x^2 s / t
and r = c x^2 s' / t that is z (1 - z) = r, so s = s' / (1 - z), where z is the smaller root but for at most one
dimension, which then made up more than half of the signal (the z of all dimensions sum to c v / t < 1). The mean moved
by a s x with a = w (y - p) / t. Both were forgotten a little with every signal since, k of them: the mean's share is
g^k, the variance's g^2k. What the signal's own step forgot is given back in the same measure.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from slop.profiles import Doubles, Floats, Prior, ordered_sum, with_bias

# A variance that is given back is no smaller than this share of the prior's.
_LEAST_VARIANCE: Final = 2.0**-40


class Taken(NamedTuple):
    """What is remembered of a signal of each of U readers, as float32 values.

    Attributes:
        label: (U,).
        weight: (U,).
        probability: (U, B), for each block what was believed before.
        spread: (U, B), likewise.
        since: (U,) int64, how many signals were learned since.
    """

    label: Floats
    weight: Floats
    probability: Floats
    spread: Floats
    since: npt.NDArray[np.int64]

    def of_block(self, at: int) -> "Taken":
        """With what one block believed, (U,)."""
        return self._replace(probability=self.probability[:, at], spread=self.spread[:, at])


def taken_back(mean: Floats, variance: Floats, features: Floats, taken: Taken, prior: Prior) -> tuple[Floats, Floats]:
    """Take back one signal for each of U readers, block by block.

    Where nothing was learned since, mean and variance are those from before it, up to rounding. Else what is left of
    its contribution goes, as far as scalars tell: exactly it would take the variances of that time.

    Args:
        mean: (U, D) float32 now.
        variance: (U, D) float32 now.
        features: (U, F) float32 of the signals, at most MAX_FEATURE in size.
        taken: what is remembered of them.
        prior: as they were learned with.

    Returns:
        mean and variance after, (U, D) float32; the variance is in (0, the prior's].
    """
    blocks = [
        _taken_back_block(mean[:, latent], variance[:, latent], features[:, part], taken.of_block(at), block)
        for at, (latent, part, block) in enumerate(prior.blocks())
    ]
    means, variances = zip(*blocks, strict=True)
    return np.concatenate(means, axis=1), np.concatenate(variances, axis=1)


def _taken_back_block(
    mean: Floats, variance: Floats, features: Floats, taken: Taken, prior: Prior
) -> tuple[Floats, Floats]:
    (kept,) = prior.forgetting
    p, v = taken.probability.astype(np.float64), taken.spread.astype(np.float64)
    y, w = taken.label.astype(np.float64), taken.weight.astype(np.float64)
    x, left = with_bias(features), power(kept, taken.since)
    latest = taken.since == 0

    curvature = w * p * (1 - p)
    total = 1 + curvature * v
    share = (curvature * left * left / total)[:, None] * (x * x)
    s = _variance_before(share, variance.astype(np.float64), curvature * v / total, latest)
    s = np.minimum(s, prior.variance)
    m = mean.astype(np.float64) - (w * (y - p) / total * left)[:, None] * (s * x)

    m = prior.mean + (m - prior.mean) * (1 + (1 / kept - 1) * left)[:, None]
    remembered = prior.variance - (prior.variance - s) * (1 + (1 / (kept * kept) - 1) * left * left)[:, None]
    least = np.where(latest[:, None], _LEAST_VARIANCE * prior.variance, kept * kept * s)
    s = np.minimum(np.maximum(remembered, least), prior.variance)
    return m.astype(np.float32), np.minimum(s.astype(np.float32), prior.variance.astype(np.float32))


def _variance_before(share: Doubles, after: Doubles, whole: Doubles, latest: npt.NDArray[np.bool_]) -> Doubles:
    """The variance s with s (1 - share s) = after, (U, D).

    Args:
        share: (U, D), c x^2 / t.
        after: (U, D), the variance after.
        whole: (U,), what share times s sums to over the dimensions.
        latest: (U,), whether nothing was learned since, so that one dimension may be told to have made up most of it.
    """
    r = np.minimum(share * after, 0.25)
    root = np.sqrt(1 - 4 * r)
    small = 2 * r / (1 + root)
    rest, rows = 1 - small, np.arange(len(r))
    most = np.argmax(r, axis=1)
    # With the larger root the sum grows by `root` there; take the one whose sum is nearer to the whole.
    larger = latest & (whole - ordered_sum(small) > root[rows, most] / 2) & (small[rows, most] > 0)
    rest[rows, most] = np.where(larger, small[rows, most], rest[rows, most])
    before: Doubles = after / rest
    return before


def power(base: float, exponents: npt.NDArray[np.int64]) -> Doubles:
    """`base` to whole exponents >= 0, (U,), by squaring: the same bits everywhere, which `**` does not promise."""
    result, factor, left = np.ones(exponents.shape), base, exponents
    while left.any():
        result = np.where(left & 1, result * factor, result)
        factor, left = factor * factor, left >> 1
    return result
