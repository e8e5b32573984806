"""What a signal says: an interaction becomes a label in [0, 1] with a weight."""

import math
from dataclasses import dataclass
from typing import Final

from slop.v1.interaction_pb2 import Interaction, InteractionType

MS_A_WORD: Final = 250.0
MS_TO_START: Final = 400.0
DWELL_WEIGHT: Final = 0.5
# On ratings of jokes (studies.humor) a graded label of this weight comes within .004 of exact Gaussian inference.
RATE_WEIGHT: Final = 6.0


@dataclass(frozen=True, slots=True)
class Reward:
    """A label (0 disliked, 1 liked) and how much it counts (1: as much as a like)."""

    label: float
    weight: float


_FIXED: Final = {
    InteractionType.INTERACTION_TYPE_LIKE: Reward(1.0, 1.0),
    InteractionType.INTERACTION_TYPE_UNLIKE: Reward(0.0, 0.5),
    InteractionType.INTERACTION_TYPE_DISLIKE: Reward(0.0, 1.0),
    InteractionType.INTERACTION_TYPE_SHARE: Reward(1.0, 1.5),
    InteractionType.INTERACTION_TYPE_COMMENT: Reward(1.0, 0.7),
    InteractionType.INTERACTION_TYPE_SAVE: Reward(1.0, 1.2),
    InteractionType.INTERACTION_TYPE_SKIP: Reward(0.0, 0.6),
    InteractionType.INTERACTION_TYPE_HIDE: Reward(0.0, 1.5),
    InteractionType.INTERACTION_TYPE_REPORT: Reward(0.0, 2.0),
}


def reward_of(interaction: Interaction, text: str) -> Reward | None:
    """The reward of an interaction with a post of this text; None if it says nothing (an impression, no time spent).

    Dwell is compared with the time that reading the post takes: twice that is fully liked, half of it fully skipped.
    A rating is a graded label, 0.5 in the middle: most people say with it how much, where a like says only that.
    """
    if interaction.type == InteractionType.INTERACTION_TYPE_DWELL:
        return _of_dwell(interaction.value, text)
    if interaction.type == InteractionType.INTERACTION_TYPE_RATE:
        return Reward((1 + interaction.value) / 2, RATE_WEIGHT)
    return _FIXED.get(interaction.type)


def _of_dwell(milliseconds: float, text: str) -> Reward | None:
    if milliseconds <= 0:
        return Reward(0.0, DWELL_WEIGHT)
    expected = MS_TO_START + MS_A_WORD * len(text.split())
    liking = max(-1.0, min(1.0, math.log2(milliseconds / expected)))
    return Reward(float(liking > 0), DWELL_WEIGHT * abs(liking)) if liking else None
