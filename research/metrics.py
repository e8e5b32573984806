"""The measures of the studies: intervals over readers, pair accuracy, perplexity, variety, calibration."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.stats import bootstrap

from client.texts import TextScore
from slop.variety import word_pairs

Doubles = npt.NDArray[np.float64]

RESAMPLES: Final = 4_000
SUBSAMPLES: Final = 20


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over readers with its 95% interval."""

    mean: float
    low: float
    high: float

    @property
    def interval(self) -> list[float]:
        """The interval as JSON has it."""
        return [round(self.low, 4), round(self.high, 4)]


def interval95(statistic: Callable[..., Any], *samples: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """The 95% percentile interval of a statistic (Efron and Tibshirani 1993, An Introduction to the Bootstrap, ch. 13).

    Args:
        statistic: of one array a sample, along the argument `axis`.
        samples: all of the same length N; several are resampled together, index by index.
        seed: of the RESAMPLES draws of N values.

    Returns:
        Its ends; for a single value, of which nothing can be drawn but itself, the statistic twice.
    """
    arrays = [np.asarray(sample, dtype=np.float64) for sample in samples]
    if arrays[0].size == 1:
        only = float(statistic(*arrays, axis=-1))
        return only, only
    rng = np.random.default_rng(seed)
    drawn = bootstrap(arrays, statistic, paired=True, n_resamples=RESAMPLES, method="percentile", rng=rng)
    return float(drawn.confidence_interval.low), float(drawn.confidence_interval.high)


def over_readers(values: Sequence[float], seed: int = 0) -> Estimate:
    """The mean of one value for each reader, with a bootstrap that draws readers, not posts.

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("no readers to average over")
    return Estimate(float(np.mean(np.asarray(values, dtype=np.float64))), *interval95(np.mean, values, seed=seed))


def pair_accuracy(scores: Sequence[float], ratings: Sequence[float], gap: float) -> float | None:
    """Share of pairs that the scores put in the order of the ratings; a tie of scores counts half.

    Args:
        scores: one a post, higher means more liked.
        ratings: what the reader said, in the same order.
        gap: pairs whose ratings differ by less are left out.

    Returns:
        A share in [0, 1], or None if no pair differs by `gap`.
    """
    s, r = np.asarray(scores, dtype=np.float64), np.asarray(ratings, dtype=np.float64)
    better = r[:, None] - r[None, :] >= gap
    if not better.any():
        return None
    agreement = 0.5 + 0.5 * np.sign(s[:, None] - s[None, :])
    return float(agreement[better].mean())


def perplexity(scores: Iterable[TextScore]) -> float:
    """exp of the mean negative log-likelihood a token, over all texts together.

    Raises:
        ValueError: no tokens.
    """
    listed = list(scores)
    tokens = sum(score.tokens for score in listed)
    if not tokens:
        raise ValueError("no tokens to take the perplexity of")
    return math.exp(-sum(score.log_likelihood for score in listed) / tokens)


def distinct2(texts: Iterable[str]) -> float:
    """Different word bigrams by all word bigrams; 0 where there is none. Falls with the number of texts."""
    pairs = [pair for text in texts for pair in word_pairs(text)]
    return len(set(pairs)) / len(pairs) if pairs else 0.0


def distinct2_of(texts: Sequence[str], count: int, seed: int = 0) -> float:
    """The mean distinct-2 of random subsets of `count` texts, so that sets of different size can be compared."""
    rng = np.random.default_rng(seed)
    subsets = (rng.permutation(len(texts))[:count] for _ in range(SUBSAMPLES))
    return float(np.mean([distinct2(texts[i] for i in subset) for subset in subsets]))


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """A bin of similar predictions: their mean, the mean of what was observed, and their number."""

    predicted: float
    observed: float
    count: int


def calibration(predicted: Sequence[float], observed: Sequence[float], bins: int = 10) -> list[CalibrationBin]:
    """Bins of equally many predictions, from the smallest to the largest."""
    order = np.argsort(np.asarray(predicted), kind="stable")
    p, o = np.asarray(predicted)[order], np.asarray(observed)[order]
    parts = zip(np.array_split(p, bins), np.array_split(o, bins), strict=True)
    return [CalibrationBin(float(a.mean()), float(b.mean()), a.size) for a, b in parts if a.size]


@dataclass(frozen=True, slots=True)
class Latency:
    """Median and 95th percentile, milliseconds."""

    p50: float
    p95: float


def latency(seconds: Sequence[float]) -> Latency:
    """Percentiles of durations."""
    p50, p95 = np.quantile(np.asarray(seconds) * 1_000, [0.5, 0.95])
    return Latency(round(float(p50), 1), round(float(p95), 1))
