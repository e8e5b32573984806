"""Which soft prompt each post of a reader is written under, and the check of a prompt before it goes to the engine."""

from typing import Final

import numpy as np
import numpy.typing as npt

from slop.basis import NORM_TOLERANCE, Basis
from slop.profiles import Profile

Floats = npt.NDArray[np.float32]

POWER: Final = 3
"""The exponent of weights in shares.

With a higher one more posts are on the reader's strongest taste, and fewer readers with two tastes get both among a few
posts (`research.prompts` compares exponents).
"""
# The prior's variance keeps the norm of a learned latent far below this: one beyond it must be broken.
MAX_WEIGHT_NORM: Final = 100.0


class UnsafeSoftPrompt(ValueError):  # noqa: N818
    """A soft prompt or latent that must not reach the engine, where one NaN spoils the requests of all others."""


def usable_latent(profile: Profile) -> npt.NDArray[np.float64]:
    """The mean of a profile's latent, (D,) float64, checked.

    Raises:
        UnsafeSoftPrompt: it is not finite, or its norm is above MAX_WEIGHT_NORM.
    """
    latent = profile.mean.astype(np.float64)
    norm = float(np.sqrt((latent**2).sum()))
    if not norm <= MAX_WEIGHT_NORM:  # also catches NaN
        raise UnsafeSoftPrompt(f"the latent's norm is {norm}, the bound {MAX_WEIGHT_NORM}")
    return latent


def shares(profile: Profile, prompts: int, strength: float = 1.0) -> npt.NDArray[np.float64] | None:
    """The share of each prompt in a reader's posts: max(m_k, 0)^(POWER strength), divided by their sum.

    Args:
        profile: of the reader; m is the mean of its latent.
        prompts: K; the first K weights of the latent are those over the prompts' responsibilities.
        strength: > 0. Below 1 the shares are more equal; above 1 the largest one grows. 1 was measured best.

    Returns:
        (K,) float64 that sums to 1, or None if no weight is positive.

    Raises:
        UnsafeSoftPrompt: the latent is not finite, or its norm is above MAX_WEIGHT_NORM.
    """
    return shares_of(usable_latent(profile)[:prompts], strength)


def shares_of(weights: npt.ArrayLike, strength: float = 1.0) -> npt.NDArray[np.float64] | None:
    """`shares`, of (K,) weights over the prompts that are finite."""
    found = shares_of_rows(np.asarray(weights, np.float64)[np.newaxis], strength)
    return found[0] if len(found) else None


def shares_of_rows(weights: npt.NDArray[np.float64], strength: float = 1.0) -> npt.NDArray[np.float64]:
    """`shares`, of (N, K) weights that are finite: a row for each of their rows that has a positive weight."""
    positive = np.maximum(weights, 0)
    positive = positive[positive.any(axis=1)]
    powers = (positive / positive.max(axis=1, keepdims=True)) ** (POWER * strength)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def allot(share: npt.NDArray[np.float64], posts: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Draw a prompt for each of n posts by systematic sampling, so that the posts together have the shares.

    With u drawn from [0, 1) the draws are the prompts at the points (u + i) / n, i = 0 to n - 1, of the cumulated
    shares. So prompt k is drawn floor(n p_k) or ceil(n p_k) times, n p_k times in expectation.

    Args:
        share: (K,) float64, sums to 1.
        posts: n.
        rng: draws u, and the order of the posts.

    Returns:
        (n,) indices of prompts.
    """
    positions = (rng.random() + np.arange(posts)) / posts
    drawn = np.searchsorted(np.cumsum(share), positions, side="right").clip(max=share.size - 1)
    return rng.permutation(drawn)


def checked(prompt: Floats, basis: Basis) -> Floats:
    """The prompt itself, if it may go to the engine.

    Args:
        prompt: (k, d) float32.
        basis: whose prompt it is.

    Raises:
        UnsafeSoftPrompt: it is not finite, has another shape than the basis' prompts, or a row outside the trust
            region.
    """
    return checked_within(prompt, basis.prompts.shape[1:], basis.norm_range)


def checked_within(prompt: Floats, shape: tuple[int, ...], norm_range: tuple[float, float]) -> Floats:
    """The prompt itself, if it may go to the engine.

    Args:
        prompt: (k, d) float32.
        shape: (k, d) as it should be.
        norm_range: the trust region: smallest and largest Euclidean norm of a row in training.

    Raises:
        UnsafeSoftPrompt: it is not finite, has another shape, or a row whose norm is outside of the trust region by
            more than the factor NORM_TOLERANCE.
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
