"""What a reader decides by an interaction. Of decisions on the same thing the latest holds, however ordered.

`Kind.slot` (slop.interaction_types) says what an interaction decides: a like and a dislike are decisions on the same
thing, a like and a save are not. An `unlike` withdraws what was decided.
"""

from dataclasses import dataclass
from hashlib import blake2b

from slop.interaction_types import Slot, kind_of
from slop.v1.interaction_pb2 import Interaction


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision.

    Attributes:
        key: digest of the reader, the post and what of it is decided, 1 to 2^64 - 1.
        at_ms: when it was decided, milliseconds since the epoch.
        withdraws: whether it takes back what was decided before.
    """

    key: int
    at_ms: int
    withdraws: bool


def decision_of(interaction: Interaction) -> Decision | None:
    """The decision of an interaction; None of one that decides nothing.

    It was decided when the client's clock says so, but never after it was received: a clock that is ahead must not win
    over everything that its reader decides until then. Every view of a post has a decision of its own, how long it
    took; a dwell that names no view is one by itself.
    """
    kind = kind_of(interaction.type)
    if kind is None or kind.slot is None:
        return None
    received_ms = interaction.received_at_ms
    occurred_ms = interaction.occurred_at_ms if interaction.HasField("occurred_at_ms") else received_ms
    return Decision(_key(interaction, kind.slot), min(occurred_ms, received_ms), kind.withdraws)


def _key(interaction: Interaction, slot: Slot) -> int:
    parts = [interaction.tenant, interaction.user_id, interaction.post_id, slot]
    if slot is Slot.VIEW:
        view = ("view", interaction.view_id) if interaction.HasField("view_id") else ("event", interaction.event_id)
        parts.extend(view)
    digest = blake2b(digest_size=8)
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(4, "little"))  # so that no two lists of parts look alike
        digest.update(data)
    return int.from_bytes(digest.digest(), "little") or 1
