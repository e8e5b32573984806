"""The arms: the ways in which posts can be written for a reader, and which reader gets which.

ARMS is the table of arms. `generation.arm_messages` has for each of them how its messages are made.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Arm(StrEnum):
    """How a reader's posts are written."""

    SOFT = "soft"
    CROWD = "crowd"
    BASE = "base"
    HISTORY = "history"
    PERSONA = "persona"


class Reads(StrEnum):
    """What posts of an arm are written from.

    NOTHING: nothing; they are plain.
    PROFILE: the reader's profile.
    LIKED: the texts of the posts that the reader liked last.
    CROWD: the tastes of all readers together, for a reader without a profile too.
    """

    NOTHING = "nothing"
    PROFILE = "profile"
    LIKED = "liked"
    CROWD = "crowd"


@dataclass(frozen=True, slots=True)
class ArmTraits:
    """What is particular to an arm.

    Attributes:
        reads: what its posts are written from.
        soft_prompts: whether they are written under soft prompts, which only the engine takes: no other upstream does.
    """

    reads: Reads
    soft_prompts: bool = False


ARMS: Final[Mapping[Arm, ArmTraits]] = {
    Arm.SOFT: ArmTraits(Reads.PROFILE, soft_prompts=True),
    Arm.CROWD: ArmTraits(Reads.CROWD, soft_prompts=True),
    Arm.BASE: ArmTraits(Reads.NOTHING),
    Arm.HISTORY: ArmTraits(Reads.LIKED),
    Arm.PERSONA: ArmTraits(Reads.PROFILE),
}
CONTROL: Final = Arm.BASE  # what every other arm is compared with

_HASH_SIZE: Final = 2**64
_FRACTION_BITS: Final = 52  # so that a fraction of a hash is never rounded to 0 or 1


def usable_weights(weights: Mapping[Arm, float]) -> Mapping[Arm, float]:
    """The weights themselves, if readers can be assigned by them.

    Raises:
        ValueError: one is negative or not finite, or none is positive.
    """
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights.values()):
        raise ValueError("weights of arms are finite and not negative")
    if not any(weight > 0 for weight in weights.values()):
        raise ValueError("an arm needs a weight above 0")
    return weights


def soft_or_control(control_share: float) -> Mapping[Arm, float]:
    """The weights of two arms: this share of readers in the control, all others with soft prompts."""
    return {Arm.SOFT: 1 - control_share, CONTROL: control_share}


def arm_of(tenant: str, user_id: str, weights: Mapping[Arm, float], experiment: str = "") -> Arm:
    """The arm of a reader: each one with a probability in proportion to its weight.

    The control is the readers whose hash is below its share. All others are assigned by weighted rendezvous hashing
    (Thaler and Ravishankar 1998; weights as of Schindelhauer and Schomaker 2005): of the other arms the one with the
    largest -w / ln(u), u being a hash of arm and reader in (0, 1). So

    - a larger share of the control only adds readers to it;
    - an arm that is added, while the control's share stays, takes readers from the others and moves nobody else;
    - the assignments of two experiments are independent.

    Args:
        tenant: whose reader it is.
        user_id: the reader.
        weights: as of `usable_weights`; an arm that is missing has none.
        experiment: its name, at most 64 characters of ASCII; empty outside of any.
    """
    total = math.fsum(weights.values())
    salt = experiment.encode()
    reader = f"{tenant}/{user_id}"
    others = {arm: weight for arm, weight in weights.items() if arm != CONTROL and weight > 0}
    if not others or _hash(reader, salt, b"slop-arm") < weights.get(CONTROL, 0.0) / total * _HASH_SIZE:
        return CONTROL
    return max(others, key=lambda arm: (_score(arm, others[arm], reader, salt), arm))


def _score(arm: Arm, weight: float, reader: str, salt: bytes) -> float:
    number = _hash(f"{arm}/{reader}", salt, b"slop-arm-of-rest") >> (64 - _FRACTION_BITS)
    return -weight / math.log((number + 0.5) / 2**_FRACTION_BITS)


def _hash(text: str, salt: bytes, person: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, key=salt, person=person).digest())
