"""The arms of the experiment that measures what personal posts are worth."""

import hashlib
from enum import StrEnum


class Arm(StrEnum):
    """How a reader's posts are written: with soft prompts, or by the base model without (the control)."""

    SOFT = "soft"
    BASE = "base"


def arm_of(tenant: str, user_id: str, control_share: float) -> Arm:
    """The arm of a reader, from a hash of tenant and user: BASE with probability `control_share`, else SOFT.

    A reader's arm changes only if `control_share` does.
    """
    digest = hashlib.blake2b(f"{tenant}/{user_id}".encode(), digest_size=8, person=b"slop-arm").digest()
    return Arm.BASE if int.from_bytes(digest) < control_share * 2**64 else Arm.SOFT
