"""From timed answers to the rows of the table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from research.cost.arms import SOFT, Arm
from research.cost.engine import Answer
from research.metrics import Doubles, interval95


@dataclass(frozen=True, slots=True)
class Sample:
    """An arm in one repeat.

    Attributes:
        cold: the answer to a request that was never sent before.
        warm: the answer to the same request again.
        stored_bytes: what is kept of the reader for it.
    """

    cold: Answer
    warm: Answer
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class Middle:
    """A median over repeats, or a ratio of two, with its 95% interval."""

    middle: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Row:
    """Medians over the repeats with 95% intervals; ratios are of medians, to the soft prompt's.

    Attributes:
        tokens: of the prompt.
        cold_ms, warm_ms: time to first token.
        cold_cached, warm_cached: share of the prompt's tokens that the engine had kept when it was asked; the former is
            the largest of all repeats, and 0 if cold was cold.
        fits: whether the model was trained on prompts of that length.
    """

    arm: str
    posts: int
    tokens: float
    token_ratio: float
    cold_ms: Middle
    cold_ratio: Middle
    warm_ms: Middle
    warm_ratio: Middle
    cold_cached: float
    warm_cached: float
    stored_bytes: float
    fits: bool


Samples = Mapping[Arm, Sequence[Sample]]


def rows_of(samples: Samples, window: int | None) -> list[Row]:
    """The table, in the order of the arms.

    Args:
        samples: of every arm, one a repeat, the repeats in the same order.
        window: tokens that the model was trained on; None if it is not known.
    """
    soft = next(taken for arm, taken in samples.items() if arm.name == SOFT)
    return [_row(arm, taken, soft, window) for arm, taken in samples.items()]


def _row(arm: Arm, taken: Sequence[Sample], soft: Sequence[Sample], window: int | None) -> Row:
    cold, warm = [sample.cold for sample in taken], [sample.warm for sample in taken]
    tokens = float(np.median([answer.prompt_tokens for answer in cold]))
    soft_tokens = float(np.median([sample.cold.prompt_tokens for sample in soft]))
    return Row(
        arm=arm.name,
        posts=arm.posts,
        tokens=tokens,
        token_ratio=tokens / soft_tokens,
        cold_ms=median_of(_times(cold)),
        cold_ratio=ratio_of(_times(cold), _times([sample.cold for sample in soft])),
        warm_ms=median_of(_times(warm)),
        warm_ratio=ratio_of(_times(warm), _times([sample.warm for sample in soft])),
        cold_cached=max(answer.cached_share for answer in cold),
        warm_cached=float(np.median([answer.cached_share for answer in warm])),
        stored_bytes=float(np.median([sample.stored_bytes for sample in taken])),
        fits=window is None or max(answer.prompt_tokens for answer in cold) < window,
    )


def _times(answers: Sequence[Answer]) -> list[float]:
    return [answer.milliseconds for answer in answers]


def median_of(values: Sequence[float]) -> Middle:
    """The median over repeats."""
    return Middle(float(np.median(values)), *interval95(np.median, values))


def ratio_of(values: Sequence[float], reference: Sequence[float]) -> Middle:
    """The ratio of two medians over the same repeats, which are drawn in pairs."""
    ratio = float(np.median(values) / np.median(reference))
    return Middle(ratio, *interval95(_ratio_of_medians, values, reference))


def _ratio_of_medians(values: Doubles, reference: Doubles, axis: int) -> Any:
    return np.median(values, axis=axis) / np.median(reference, axis=axis)
