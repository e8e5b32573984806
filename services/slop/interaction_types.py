"""The types of interactions: what each is called, what it says of a post, and what a reader decides by it.

A new type is a number in `InteractionType` (proto/slop/v1/interaction.proto) and a row here. What the collector takes,
what rewards say, decisions, metrics and SLOP_REWARD_WEIGHTS follow from the row; docs/api.md shows the same table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from slop.v1.interaction_pb2 import InteractionType

MAX_DWELL_MS: Final = 24 * 3600 * 1000


class Decided(StrEnum):
    """What is decided of a post. A reader has one decision in a slot, the latest; VIEW has one slot for each view."""

    OPINION = "opinion"
    SAVE = "save"
    SHARE = "share"
    COMMENT = "comment"
    FOLLOW = "follow"
    MUTE = "mute"
    HIDE = "hide"
    REPORT = "report"
    RATE = "rate"
    SKIP = "skip"
    CLICK = "click"
    OPEN = "open"
    VIEW = "view"


@dataclass(frozen=True, slots=True)
class Range:
    """What a type's value may be, both ends included, and what it means."""

    low: float
    high: float
    meaning: str


@dataclass(frozen=True, slots=True)
class TypeOfInteraction:
    """One type of interaction.

    Attributes:
        name: on the wire of the collector, and in settings and metrics.
        decides: what is decided by it; None: nothing.
        label: what it says, 0 (disliked) to 1 (liked); None where its value says it, or where it says nothing.
        weight: how much it counts, 1 as much as a like; 0: it says nothing.
        withdraws: whether it takes back what was decided in its slot.
        value: what its value may be; None where it has none.
    """

    name: str
    decides: Decided | None = None
    label: float | None = None
    weight: float = 0.0
    withdraws: bool = False
    value: Range | None = None

    @property
    def wire_name(self) -> str:
        """What `InteractionType` calls it."""
        return f"INTERACTION_TYPE_{self.name.upper()}"

    @property
    def number(self) -> int:
        """Its number on Kafka's wire."""
        return InteractionType.Value(self.wire_name)

    @property
    def speaks(self) -> bool:
        """Whether it says something of the post by itself."""
        return self.weight > 0


INTERACTION_TYPES: Final[Mapping[str, TypeOfInteraction]] = {
    row.name: row
    for row in (
        TypeOfInteraction("impression"),
        TypeOfInteraction(
            "dwell", Decided.VIEW, weight=0.5, value=Range(0, MAX_DWELL_MS, "milliseconds in view, at most a day")
        ),
        TypeOfInteraction("like", Decided.OPINION, 1.0, 1.0),
        TypeOfInteraction("unlike", Decided.OPINION, withdraws=True),
        TypeOfInteraction("dislike", Decided.OPINION, 0.0, 1.0),
        TypeOfInteraction("undislike", Decided.OPINION, withdraws=True),
        TypeOfInteraction("share", Decided.SHARE, 1.0, 1.5),
        TypeOfInteraction("comment", Decided.COMMENT, 1.0, 0.7),
        TypeOfInteraction("save", Decided.SAVE, 1.0, 1.2),
        TypeOfInteraction("unsave", Decided.SAVE, withdraws=True),
        TypeOfInteraction("click", Decided.CLICK, 1.0, 0.2),
        TypeOfInteraction("open", Decided.OPEN, 1.0, 0.3),
        TypeOfInteraction("follow", Decided.FOLLOW, 1.0, 1.5),
        TypeOfInteraction("skip", Decided.SKIP, 0.0, 0.6),
        TypeOfInteraction("hide", Decided.HIDE, 0.0, 1.5),
        TypeOfInteraction("mute", Decided.MUTE, 0.0, 1.5),
        TypeOfInteraction("report", Decided.REPORT, 0.0, 2.0),
        # On ratings of jokes (research.humor) a graded label of this weight comes within .004 of exact inference.
        TypeOfInteraction("rate", Decided.RATE, weight=6.0, value=Range(-1, 1, "from -1, the worst, to 1, the best")),
    )
}
_BY_NUMBER: Final = {row.number: row for row in INTERACTION_TYPES.values()}


def interaction_type_of(number: int) -> TypeOfInteraction | None:
    """The kind of a number on Kafka's wire; None of one that this version does not know."""
    return _BY_NUMBER.get(number)
