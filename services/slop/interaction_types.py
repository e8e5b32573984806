"""The types of interactions: the name of each, the label and weight of its signals, and what it decides.

A new type is a number in `InteractionType` (proto/slop/v1/interaction.proto) and a row of INTERACTION_TYPES. What the
collector accepts, rewards, decisions, metrics and SLOP_REWARD_WEIGHTS follow from the row; docs/api.md has the same
table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from slop.v1.interaction_pb2 import InteractionType

MAX_DWELL_MS: Final = 24 * 3600 * 1000


class Decided(StrEnum):
    """The things of a post that a reader decides. Of each the latest decision holds; of VIEW one for each view."""

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
    """The values that an interaction may have, from `low` to `high`, both included, and what they mean, for people."""

    low: float
    high: float
    meaning: str


@dataclass(frozen=True, slots=True)
class TypeOfInteraction:
    """One type of interaction.

    Attributes:
        name: in the collector's API, in settings and in metrics.
        decides: the thing that it decides; None if it decides nothing.
        label: of its signals, from 0 (disliked) to 1 (liked); None if it depends on the value, or if it has no signals.
        weight: of its signals; a like has 1. If it is 0 it has no signals of its own.
        withdraws: whether it withdraws the decision on what it `decides`.
        value: the range of its value; None if it has none.
    """

    name: str
    decides: Decided | None = None
    label: float | None = None
    weight: float = 0.0
    withdraws: bool = False
    value: Range | None = None

    @property
    def wire_name(self) -> str:
        """Its name in the enumeration `InteractionType`."""
        return f"INTERACTION_TYPE_{self.name.upper()}"

    @property
    def number(self) -> int:
        """Its number in the enumeration `InteractionType`, as records have it."""
        return InteractionType.Value(self.wire_name)

    @property
    def speaks(self) -> bool:
        """Whether it has signals of its own: it says by itself whether the post is liked."""
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
    """The type of a number of the enumeration `InteractionType`; None if this version does not know it."""
    return _BY_NUMBER.get(number)
