"""The lift: how much more readers like the posts of an arm than those of the control, with its 95% interval.

The reactions of one reader are alike, so they are no independent samples: readers are the unit. If reader u has n_u
reactions to an arm's posts, l_u of them likes, then p = sum(l_u) / n with n = sum(n_u) is the liked share, a ratio
estimate. Its variance is sum((l_u - p n_u)^2) / n^2 = (sum(l_u^2) - 2 p sum(l_u n_u) + p^2 sum(n_u^2)) / n^2 (Cochran
1977, "Sampling techniques", chapter 6). Each day of a reader counts as another reader.

Before that, each arm gets one reader more who likes everything and one who likes nothing, of as many reactions as
others have, c = (sum(n_u^2) + 1) / (n + 1) (after Agresti and Caffo 2000). Without them the interval is far too narrow
while the control has few readers, and there is none while it has none.

Prometheus computes the same in infra/prometheus/rules/recording.yml.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Final, NamedTuple, Self

from slop.arms import CONTROL

Z95: Final = 1.96  # standard deviations to either side of a 95% interval


class ArmOfExperiment(NamedTuple):
    """An arm, and the experiment that assigned it to readers; empty outside of any."""

    experiment: str
    arm: str


@dataclass(frozen=True, slots=True)
class LiftSums:
    """What is counted of the reactions to an arm's posts; all sums are over readers, and only grow.

    Attributes:
        readers: a reader who reacts on several days is as many readers.
        liked: sum(l_u).
        not_liked: sum(n_u - l_u).
        liked_pairs: sum(l_u^2).
        liked_any_pairs: sum(l_u n_u).
        any_pairs: sum(n_u^2).
    """

    readers: int = 0
    liked: int = 0
    not_liked: int = 0
    liked_pairs: int = 0
    liked_any_pairs: int = 0
    any_pairs: int = 0

    def __add__(self, other: "LiftSums") -> Self:
        names = [field.name for field in fields(self)]
        return type(self)(*(getattr(self, name) + getattr(other, name) for name in names))

    def adjusted(self) -> tuple[float, float]:
        """The liked share and its variance, with the two readers more."""
        reactions = self.liked + self.not_liked
        more = (self.any_pairs + 1) / (reactions + 1)
        count = reactions + 2 * more
        p = (self.liked + more) / count
        squares = self.liked_pairs - 2 * p * self.liked_any_pairs + p**2 * self.any_pairs
        return p, (squares + more**2 * (p**2 + (1 - p) ** 2)) / count**2


class Lift(NamedTuple):
    """The lift of an arm over the control of the same experiment.

    Attributes:
        ratio: the difference of the liked shares.
        low: end of the 95% interval.
        high: likewise.
    """

    ratio: float
    low: float
    high: float


def lifts(sums: Mapping[ArmOfExperiment, LiftSums]) -> Iterator[tuple[ArmOfExperiment, Lift]]:
    """The lift of every arm but the control, by experiment and arm."""
    for at in sorted(sums):
        if at.arm == CONTROL:
            continue
        share, variance = sums[at].adjusted()
        control_share, control_variance = sums.get(at._replace(arm=CONTROL), LiftSums()).adjusted()
        ratio, spread = share - control_share, Z95 * math.sqrt(variance + control_variance)
        yield at, Lift(ratio, ratio - spread, ratio + spread)
