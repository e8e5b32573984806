"""From a reader's weights to the soft prompt of each post, and the guard before the engine."""

from typing import Final

import numpy as np
import numpy.typing as npt

from slop.basis import NORM_TOLERANCE, Basis
from slop.profiles import Profile

Floats = npt.NDArray[np.float32]

POWER: Final = 3
"""Of weights, to shares: the higher, the more posts are on a taste, and the fewer readers with two tastes find both
among a few posts (`research.prompts` compares powers)."""
# A latent beyond this norm was never learned: the prior's variance and the number of signals bound it far below.
MAX_WEIGHT_NORM: Final = 100.0


class UnsafeSoftPrompt(ValueError):  # noqa: N818
    """A soft prompt or latent that must not reach the engine, where a single NaN poisons every other request."""


def usable_latent(profile: Profile) -> npt.NDArray[np.float64]:
    """(D,) float64 mean of the latent, if it can have been learned.

    Raises:
        UnsafeSoftPrompt: they are not finite, or beyond the norm bound.
    """
    latent = profile.mean.astype(np.float64)
    norm = float(np.sqrt((latent**2).sum()))
    if not norm <= MAX_WEIGHT_NORM:  # also catches NaN
        raise UnsafeSoftPrompt(f"the latent's norm is {norm}, the bound {MAX_WEIGHT_NORM}")
    return latent


def shares(profile: Profile, prompts: int, strength: float = 1.0) -> npt.NDArray[np.float64] | None:
    """The share of each prompt of the basis in a reader's posts: p_k = max(mu_k, 0)^(3 strength), normalised.

    Args:
        profile: the reader.
        prompts: K; the first K of the latent are the prompts' weights.
        strength: 1 as measured best; below 1 flatter, above 1 nearer to the top taste only; > 0.

    Returns:
        (K,) float64 that sums to 1, or None if the reader has no positive weight.

    Raises:
        UnsafeSoftPrompt: the latent is not finite, or beyond the norm bound.
    """
    positive = np.maximum(usable_latent(profile)[:prompts], 0)
    if not positive.any():
        return None
    powers = (positive / positive.max()) ** (POWER * strength)
    return np.asarray(powers / powers.sum())


def allot(share: npt.NDArray[np.float64], posts: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Draw a prompt for each of a batch of posts, by systematic sampling so that the batch keeps the shares.

    Args:
        share: (K,), sums to 1.
        posts: how many.
        rng: source of the draw and of the order.

    Returns:
        (posts,) indices of prompts.
    """
    positions = (rng.random() + np.arange(posts)) / posts
    drawn = np.searchsorted(np.cumsum(share), positions, side="right").clip(max=share.size - 1)
    return rng.permutation(drawn)


def checked(prompt: Floats, basis: Basis) -> Floats:
    """The prompt itself, if it is safe for the engine.

    Args:
        prompt: (k, d).
        basis: what it comes from.

    Raises:
        UnsafeSoftPrompt: not finite, of another shape than the basis', or with a row outside the trust region.
    """
    return checked_within(prompt, basis.prompts.shape[1:], basis.norm_range)


def checked_within(prompt: Floats, shape: tuple[int, ...], norm_range: tuple[float, float]) -> Floats:
    """The prompt itself, if it is safe for the engine.

    Args:
        prompt: (k, d).
        shape: what it must have.
        norm_range: smallest and largest row norm seen in training.

    Raises:
        UnsafeSoftPrompt: not finite, of another shape, or with a row outside the trust region.
    """
    if prompt.shape != shape:
        raise UnsafeSoftPrompt(f"shape {prompt.shape}, the basis has {shape}")
    if not np.isfinite(prompt).all():
        raise UnsafeSoftPrompt("values that are not finite")
    norms = np.sqrt((prompt.astype(np.float64) ** 2).sum(axis=1))
    smallest, largest = norm_range
    if norms.min() < smallest / NORM_TOLERANCE or norms.max() > largest * NORM_TOLERANCE:
        raise UnsafeSoftPrompt(f"row norms {norms.min():.3f} to {norms.max():.3f}, trained {smallest} to {largest}")
    return prompt
