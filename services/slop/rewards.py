"""What a signal says: an interaction becomes a label in [0, 1] with a weight.

The table of labels and weights is `slop.interaction_types.KINDS`. Two of them depend on the interaction's value: a
dwell is liked if it is longer than reading takes, with all of its weight from twice that time or half of it on; a
rating is graded, (1 + value) / 2. An impression says nothing, and what takes a decision back says nothing by itself
(`slop.decisions`). A product changes weights by `SLOP_REWARD_WEIGHTS`, say `{"share": 2, "skip": 0.3}`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from slop.interaction_types import KINDS, Kind, Slot, kind_of
from slop.v1.interaction_pb2 import Interaction
from slop.words import reading_ms

MS_TO_START: Final = 400.0
HEAVIEST: Final = 100.0

WEIGHTS: Final = {kind.name: kind.weight for kind in KINDS.values() if kind.speaks}
DWELL_WEIGHT: Final = WEIGHTS["dwell"]
RATE_WEIGHT: Final = WEIGHTS["rate"]


@dataclass(frozen=True, slots=True)
class Reward:
    """A label (0 disliked, 1 liked) and how much it counts (1: as much as a like)."""

    label: float
    weight: float


@dataclass(frozen=True, slots=True)
class Rewards:
    """What is said by each; `weights` by the name of the signal."""

    weights: Mapping[str, float]

    @classmethod
    def of(cls, changed: Mapping[str, float]) -> Self:
        """The usual weights, some of them changed.

        Raises:
            ValueError: there is no such signal, or a weight is not in 0 to HEAVIEST.
        """
        if unknown := sorted(changed.keys() - WEIGHTS.keys()):
            raise ValueError(f"no such signal: {', '.join(unknown)}; there are {', '.join(WEIGHTS)}")
        if wrong := sorted(name for name, weight in changed.items() if not 0 <= weight <= HEAVIEST):
            raise ValueError(f"weights are from 0 to {HEAVIEST:.0f}: {', '.join(wrong)}")
        return cls(WEIGHTS | dict(changed))

    def reward_of(self, interaction: Interaction, text: str) -> Reward | None:
        """The reward of an interaction with a post of this text; None if it says nothing.

        Dwell is compared with the time that reading the post takes: twice that is fully liked, half of it fully
        skipped. A rating is graded, 0.5 in the middle: most people say with it how much, where a like says only that.
        """
        kind = kind_of(interaction.type)
        weight = self.weights.get(kind.name, 0.0) if kind else 0.0
        if kind is None or weight <= 0:
            return None
        reward = _reward(kind, interaction.value, text, weight)
        return reward if reward.weight > 0 else None


def _reward(kind: Kind, value: float, text: str, weight: float) -> Reward:
    """Of a kind that speaks."""
    if kind.label is not None:
        return Reward(kind.label, weight)
    if kind.slot is Slot.RATE:
        return Reward((1 + value) / 2, weight)
    liking = _liking(value, text)
    return Reward(float(liking > 0), weight * abs(liking))


def _liking(milliseconds: float, text: str) -> float:
    """In [-1, 1], from the time spent, of any size: a quotient of the two would be zero for the shortest."""
    if milliseconds <= 0:
        return -1.0
    return max(-1.0, min(1.0, math.log2(milliseconds) - math.log2(MS_TO_START + reading_ms(text))))
