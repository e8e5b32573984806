"""What a signal says: an interaction becomes a label in [0, 1] with a weight.

| signal | label | weight |
| --- | --- | --- |
| like | 1 | 1.0 |
| share | 1 | 1.5 |
| save | 1 | 1.2 |
| comment | 1 | 0.7 |
| unlike | 0 | 0.5 |
| skip | 0 | 0.6 |
| dislike | 0 | 1.0 |
| hide | 0 | 1.5 |
| report | 0 | 2.0 |
| dwell | 1 if longer than reading takes, else 0 | up to 0.5: all of it from twice that time or half of it on |
| rate | graded: (1 + value) / 2 | 6.0 |

An impression says nothing. A product changes weights by `SLOP_REWARD_WEIGHTS`, say `{"share": 2, "skip": 0.3}`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from slop.v1.interaction_pb2 import Interaction, InteractionType
from slop.words import reading_ms

MS_TO_START: Final = 400.0
HEAVIEST: Final = 100.0

LABELS: Final = {
    "like": 1.0,
    "share": 1.0,
    "save": 1.0,
    "comment": 1.0,
    "unlike": 0.0,
    "skip": 0.0,
    "dislike": 0.0,
    "hide": 0.0,
    "report": 0.0,
}
# On ratings of jokes (studies.humor) a graded label of this weight comes within .004 of exact Gaussian inference.
RATE_WEIGHT: Final = 6.0
DWELL_WEIGHT: Final = 0.5
WEIGHTS: Final = {
    "like": 1.0,
    "share": 1.5,
    "save": 1.2,
    "comment": 0.7,
    "unlike": 0.5,
    "skip": 0.6,
    "dislike": 1.0,
    "hide": 1.5,
    "report": 2.0,
    "dwell": DWELL_WEIGHT,
    "rate": RATE_WEIGHT,
}
_NAMES: Final = {number: name.removeprefix("INTERACTION_TYPE_").lower() for name, number in InteractionType.items()}


@dataclass(frozen=True, slots=True)
class Reward:
    """A label (0 disliked, 1 liked) and how much it counts (1: as much as a like)."""

    label: float
    weight: float


@dataclass(frozen=True, slots=True)
class Rewards:
    """The table above; `weights` by the name of the signal."""

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
        name = _NAMES.get(interaction.type, "")
        reward = _reward(name, interaction.value, text, self.weights.get(name, 0.0))
        return reward if reward and reward.weight > 0 else None


def _reward(name: str, value: float, text: str, weight: float) -> Reward | None:
    if name == "dwell":
        liking = _liking(value, text)
        return Reward(float(liking > 0), weight * abs(liking))
    if name == "rate":
        return Reward((1 + value) / 2, weight)
    return Reward(LABELS[name], weight) if name in LABELS else None


def _liking(milliseconds: float, text: str) -> float:
    """In [-1, 1], from the time spent, of any size: a quotient of the two would be zero for the shortest."""
    if milliseconds <= 0:
        return -1.0
    return max(-1.0, min(1.0, math.log2(milliseconds) - math.log2(MS_TO_START + reading_ms(text))))
