"""Exploration: some posts of a reader are under prompts that the reader may like and has not shown to like.

Without it a reader of one taste gets posts of that taste alone, and nothing is learned of the others.
"""

import numpy as np
import numpy.typing as npt

from slop.profiles import Profile
from slop.soft_prompts import usable_latent


def sampled_best(profile: Profile, prompts: int, posts: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """For each post the best prompt by weights that are drawn from the posterior (Thompson 1933, Biometrika 25).

    Args:
        profile: of the reader; its latent's first K means and variances are those of the prompts' weights.
        prompts: K.
        posts: how many.
        rng: draws the weights, independently of each other.

    Returns:
        (posts,) indices of prompts.

    Raises:
        UnsafeSoftPrompt: as `slop.soft_prompts.usable_latent`.
    """
    mean, spread = usable_latent(profile)[:prompts], np.sqrt(profile.variance[:prompts].astype(np.float64))
    best: npt.NDArray[np.intp] = rng.normal(mean, spread, (posts, prompts)).argmax(axis=1)
    return best


def explored(share: float, posts: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Which of n posts explore: floor(n share) or ceil(n share) of them, n share in expectation.

    Args:
        share: of the posts, from 0 to 1.
        posts: n.
        rng: draws how many, and which.

    Returns:
        indices of posts, different ones, from 0 to n - 1.
    """
    return rng.permutation(posts)[: int(posts * share + rng.random())]
