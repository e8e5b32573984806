"""The ways from a profile's weights to the soft prompts that are sent to the engine.

Most draw a prompt of the basis for each post, so that the posts of all readers are under the same K prompts. Others
make one soft prompt for a reader, for all posts.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from research.projector import Projector
from slop.basis import Basis
from slop.exploring import explored, sampled_best
from slop.profiles import Profile
from slop.soft_prompts import POWER, allot, checked, shares

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

POWERS: Final = (1, 2, 3, 4, 6)
MIXTURES: Final = {f"mixture, power {power}": power for power in POWERS}
PRODUCTION: Final = f"mixture, power {POWER}"
TOP: Final = "the strongest prompt"
THOMPSON: Final = "Thompson sampling"
EXPLORING: Final = {f"exploring in {share:.0%}": share for share in (0.05, 0.1, 0.2)}
CONCATENATED: Final = "two strongest, concatenated"
AVERAGE: Final = "weighted average"
PROJECTED: Final = "projector"

DRAWN: Final = (*MIXTURES, TOP, THOMPSON, *EXPLORING)
"""Ways that draw a prompt of the basis for each post."""
OWN: Final = (CONCATENATED, AVERAGE, PROJECTED)
"""Ways that make a reader a soft prompt."""


def drawn_prompts(
    way: str, profile: Profile, prompts: int, posts: int, rng: np.random.Generator
) -> npt.NDArray[np.intp] | None:
    """The prompt of each post.

    Args:
        way: one of DRAWN.
        profile: the reader's.
        prompts: K, of the basis.
        posts: how many.
        rng: source of every draw.

    Returns:
        (posts,) numbers of prompts, or None for a reader without a positive weight.
    """
    share = shares(profile, prompts, MIXTURES.get(way, POWER) / POWER)
    if share is None:
        return None
    if way == TOP:
        return np.full(posts, share.argmax())
    if way == THOMPSON:
        return sampled_best(profile, prompts, posts, rng)
    chosen = allot(share, posts, rng)
    if way in EXPLORING:
        exploring = explored(EXPLORING[way], posts, rng)
        chosen[exploring] = sampled_best(profile, prompts, len(exploring), rng)
    return chosen


class OwnPrompts:
    """Makes a reader a soft prompt."""

    def __init__(self, basis: Basis, projector: Projector) -> None:
        self._basis = basis
        self._projectors = {AVERAGE: Projector(basis, 1), PROJECTED: projector}  # untrained: the average

    def __call__(self, way: str, profile: Profile) -> Floats | None:
        """The soft prompt, (rows, d), by one of OWN; None for a reader without a positive weight.

        Raises:
            slop.soft_prompts.UnsafeSoftPrompt: it must not reach the engine.
        """
        share = shares(profile, self._basis.size)
        if share is None:
            return None
        return self._strongest(share) if way == CONCATENATED else self._projectors[way].prompt(share)

    def _strongest(self, share: Doubles) -> Floats:
        """The two strongest prompts, the strongest first; one if the reader has one."""
        chosen = [k for k in np.argsort(-share)[:2] if share[k] > 0]
        return np.concatenate([checked(self._basis.prompts[k], self._basis) for k in chosen])
