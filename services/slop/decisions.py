"""Decisions: what a reader decides about a post by an interaction.

`TypeOfInteraction.decides` (slop.interaction_types) says what an interaction decides. A like and a dislike decide the
same thing, the reader's opinion; a like and a save decide different things. Of several decisions on the same thing the
one with the latest time holds, in whatever order they arrive. An `unlike` withdraws the decision of a `like`.
"""

from dataclasses import dataclass
from hashlib import blake2b

from slop.interaction_types import Decided, interaction_type_of
from slop.v1.interaction_pb2 import Interaction


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision.

    Attributes:
        key: digest of the reader, the post and the thing that is decided, from 1 to 2^64 - 1. Decisions on the same
            thing have the same key.
        at_ms: when it was decided, in milliseconds since the Unix epoch.
        withdraws: whether it withdraws the decision with the same key.
    """

    key: int
    at_ms: int
    withdraws: bool


def decision_of(interaction: Interaction) -> Decision | None:
    """The decision of an interaction, or None if it decides nothing.

    Its time is that of the client's clock, but at most the time at which the collector received it. Otherwise a
    decision from a clock that is ahead would hold against all that the reader decides until then.

    Each view of a post is a thing of its own: how long the post was looked at. A dwell without a `view_id` is a view
    of its own.
    """
    type_ = interaction_type_of(interaction.type)
    if type_ is None or type_.decides is None:
        return None
    received_ms = interaction.received_at_ms
    occurred_ms = interaction.occurred_at_ms if interaction.HasField("occurred_at_ms") else received_ms
    return Decision(_key(interaction, type_.decides), min(occurred_ms, received_ms), type_.withdraws)


def _key(interaction: Interaction, decided: Decided) -> int:
    parts = [interaction.tenant, interaction.user_id, interaction.post_id, decided]
    if decided is Decided.VIEW:
        view = ("view", interaction.view_id) if interaction.HasField("view_id") else ("event", interaction.event_id)
        parts.extend(view)
    digest = blake2b(digest_size=8)
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(4, "little"))  # so that different lists of parts have different bytes
        digest.update(data)
    return int.from_bytes(digest.digest(), "little") or 1
