"""How the posts of each arm are made personal: MANNERS is the table.

The forms are those that the studies compared (docs/evaluation.md): a soft prompt for each post, liked posts as chat
turns before the request, and the reader in words after the system text.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from generation.contracts import Reason
from generation.profiles import tastes
from generation.reader_state import ReaderState
from generation.writing_request import Role, Turn
from slop.arms import Arm
from slop.basis import Basis
from slop.soft_prompts import shares, shares_of

Doubles = npt.NDArray[np.float64]

PERSONA: Final = "The reader likes: {}."
MOST_CHARACTERS: Final = 500  # of one liked post


@dataclass(frozen=True, slots=True)
class Manner:
    """What makes posts personal; plain if nothing is given.

    Attributes:
        shares: (K,) float64 that sums to 1: of the soft prompts, of which one is drawn for each post.
        about: of the reader, after the system text; empty if nothing is said.
        before: chat turns before those of the request.
        reason: why the posts are personal or not.
    """

    reason: Reason
    shares: Doubles | None = None
    about: str = ""
    before: tuple[Turn, ...] = ()


def soft(state: ReaderState, basis: Basis, strength: float) -> Manner:
    """Soft prompts by the reader's profile."""
    share = None if state.profile is None else shares(state.profile, basis.size, strength)
    return Manner(Reason.NO_TASTE) if share is None else Manner(Reason.PERSONALIZED, shares=share)


def crowd(state: ReaderState, basis: Basis, strength: float) -> Manner:
    """Soft prompts by what all readers together like, or else by the basis' crowd direction."""
    share = shares_of(basis.crowd_direction[: basis.size], strength) if state.crowd is None else state.crowd
    return Manner(Reason.NO_TASTE) if share is None else Manner(Reason.CROWD, shares=share)


def history(state: ReaderState, basis: Basis, _: float) -> Manner:
    """The posts that the reader liked last as chat turns, as if the model had answered the default request so."""
    if not state.liked:
        return Manner(Reason.NO_LIKES)
    request = Turn(Role.USER, basis.template.request)
    turns = [turn for text in state.liked for turn in (request, Turn(Role.ASSISTANT, _short(text)))]
    return Manner(Reason.PERSONALIZED, before=tuple(turns))


def persona(state: ReaderState, basis: Basis, _: float) -> Manner:
    """The reader's profile in words."""
    described = [] if state.profile is None else list(tastes(state.profile, basis))
    if not described:
        return Manner(Reason.NO_TASTE)
    return Manner(Reason.PERSONALIZED, about=PERSONA.format("; ".join(", ".join(taste.words) for taste in described)))


def plain(_: ReaderState, __: Basis, ___: float) -> Manner:
    """Nothing: the control."""
    return Manner(Reason.CONTROL)


MANNERS: Final[Mapping[Arm, Callable[[ReaderState, Basis, float], Manner]]] = {
    Arm.SOFT: soft,
    Arm.CROWD: crowd,
    Arm.BASE: plain,
    Arm.HISTORY: history,
    Arm.PERSONA: persona,
}


def manner_of(state: ReaderState, basis: Basis, strength: float) -> Manner:
    """What makes the posts of a reader personal.

    Args:
        state: of the reader; its arm says which way is tried, if its reason allows it.
        basis: whose soft prompts and words these are.
        strength: > 0, of the shares (`slop.soft_prompts.shares`).
    """
    if state.reason not in {Reason.PERSONALIZED, Reason.CROWD}:
        return Manner(state.reason)
    return MANNERS[state.arm](state, basis, strength)


def _short(text: str) -> str:
    """At most MOST_CHARACTERS of a text, cut between words."""
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS].rsplit(None, 1)[0]
