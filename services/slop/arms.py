"""The arms of the experiment that tells what personal posts are worth."""

import hashlib
from enum import StrEnum


class Arm(StrEnum):
    """The experiment arm of a reader: with soft prompts, or the base model as it is."""

    SOFT = "soft"
    BASE = "base"


def arm_of(tenant: str, user_id: str, control_share: float) -> Arm:
    """A reader's arm: the same at every request, and `control_share` of all readers are in the base arm."""
    digest = hashlib.blake2b(f"{tenant}/{user_id}".encode(), digest_size=8, person=b"slop-arm").digest()
    return Arm.BASE if int.from_bytes(digest) < control_share * 2**64 else Arm.SOFT
