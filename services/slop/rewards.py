"""Rewards: the label and the weight that a signal has, from its interaction.

The label, in [0, 1], says how much the reader likes the post; the weight, >= 0, says how much the signal counts. Both
are in the table `slop.interaction_types.INTERACTION_TYPES`, except for two types that have a value:

- dwell: with t the time in view, r = MS_TO_START + the reading time of the post (both in milliseconds) and
  d = log2(t / r) clipped to [-1, 1], the label is 1 if d > 0, else 0, and the weight is |d| times the table's. So from
  t = 2 r on a dwell is liked with all its weight, up to t = r / 2 disliked with all of it, and t = r says nothing.
- rate: the label is (1 + value) / 2 for a value in [-1, 1].

An impression has no reward, and neither has an interaction that withdraws a decision (`slop.decisions`). The setting
`SLOP_REWARD_WEIGHTS` changes weights, for example `{"share": 2, "skip": 0.3}`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from slop.interaction_types import INTERACTION_TYPES, Decided, TypeOfInteraction, interaction_type_of
from slop.v1.interaction_pb2 import Interaction
from slop.words import reading_ms

MS_TO_START: Final = 400.0  # from a post's appearance until it is being read
HEAVIEST: Final = 100.0  # the largest weight that a setting may give

WEIGHTS: Final = {type_.name: type_.weight for type_ in INTERACTION_TYPES.values() if type_.speaks}
RATE_WEIGHT: Final = WEIGHTS["rate"]


@dataclass(frozen=True, slots=True)
class Reward:
    """A label, from 0 (disliked) to 1 (liked), and a weight >= 0; a like has the weight 1."""

    label: float
    weight: float


@dataclass(frozen=True, slots=True)
class Rewards:
    """Rewards of interactions; `weights` has the weight of each interaction type by its name."""

    weights: Mapping[str, float]

    @classmethod
    def of(cls, changed: Mapping[str, float]) -> Self:
        """The weights of the table, some of them changed.

        Raises:
            ValueError: there is no such interaction type, or a weight is not in [0, HEAVIEST].
        """
        if unknown := sorted(changed.keys() - WEIGHTS.keys()):
            raise ValueError(f"no such signal: {', '.join(unknown)}; there are {', '.join(WEIGHTS)}")
        if wrong := sorted(name for name, weight in changed.items() if not 0 <= weight <= HEAVIEST):
            raise ValueError(f"weights are from 0 to {HEAVIEST:.0f}: {', '.join(wrong)}")
        return cls(WEIGHTS | dict(changed))

    def reward_of(self, interaction: Interaction, text: str) -> Reward | None:
        """The reward of an interaction with a post of this text, or None if its type is unknown or has no weight."""
        type_ = interaction_type_of(interaction.type)
        weight = self.weights.get(type_.name, 0.0) if type_ else 0.0
        if type_ is None or weight <= 0:
            return None
        reward = _reward(type_, interaction.value, text, weight)
        return reward if reward.weight > 0 else None


def _reward(type_: TypeOfInteraction, value: float, text: str, weight: float) -> Reward:
    """The reward of a type that has a label or a value."""
    if type_.label is not None:
        return Reward(type_.label, weight)
    if type_.decides is Decided.RATE:
        return Reward((1 + value) / 2, weight)
    liking = _liking(value, text)
    return Reward(float(liking > 0), weight * abs(liking))


def _liking(milliseconds: float, text: str) -> float:
    """log2 of the time in view by the time that reading takes, clipped to [-1, 1].

    It is a difference of logarithms, since the quotient is rounded to 0 for the shortest times.
    """
    if milliseconds <= 0:
        return -1.0
    return max(-1.0, min(1.0, math.log2(milliseconds) - math.log2(MS_TO_START + reading_ms(text))))
