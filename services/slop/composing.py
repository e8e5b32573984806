"""Composed posts: posts written under a style and a subject, for readers who like both.

A reader's shares are over the K prompts of the mixture. Some of these stand for a style, some for a subject. If a
reader has enough of both, every post is written under a pair of the style × subject prompts; else under a prompt of the
mixture.
"""

from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from slop.soft_prompts import allot, checked_within
from slop.style_subject import StyleSubjectBasis

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

COMPOSED_FROM: Final = 0.05
"""The least share of a reader's posts that style-like prompts must have, and subject-like ones too, for composed posts.

Shares are third powers of weights, so that 0.05 is reached by a weight 0.37 times as large as that of the other kind.
The results of `research.topics` say for how many readers of each kind posts are composed.
"""
MARGIN: Final = 0.25
"""By how much a prompt's sums of `surplus`, over styles and over subjects, must differ for it to stand for either."""
LEAST_ENTROPY: Final = 1e-6  # nats; below it all posts are in one part, and differences are rounding errors


class Pair(NamedTuple):
    """Indices of a style and a subject of a `StyleSubjectBasis`."""

    style: int
    subject: int


Choice = int | Pair
"""What a post is written under: the index of a prompt of the mixture, or a pair."""


class Composer:
    """Chooses what each post of a reader is written under.

    Attributes:
        style_like: (K,) bool, whether a prompt of the mixture stands for a style.
        subject_like: (K,) bool, whether it stands for a subject; a prompt may stand for neither.
        styles: (K,) int, the style with the largest surplus in each prompt's cluster.
        subjects: (K,) int, likewise the subject.
    """

    def __init__(self, of_prompts: npt.NDArray[np.floating], least: float = COMPOSED_FROM) -> None:
        """A composer of posts.

        Args:
            of_prompts: (K, S, J), see `slop.style_subject.StyleSubjectBasis`.
            least: the least share that style-like prompts must have, and subject-like ones too.
        """
        by_style, by_subject = (surplus(of_prompts.sum(axis=axis, dtype=np.float64)) for axis in (2, 1))
        ahead = by_style.sum(axis=1) - by_subject.sum(axis=1)
        self.style_like, self.subject_like = ahead > MARGIN, ahead < -MARGIN
        self.styles, self.subjects = by_style.argmax(axis=1), by_subject.argmax(axis=1)
        self._least = least

    @classmethod
    def of(cls, basis: StyleSubjectBasis | None) -> Self | None:
        """The composer of style × subject prompts; None without them, or if they have no `of_prompts`."""
        return None if basis is None or basis.of_prompts is None else cls(basis.of_prompts)

    def draw(self, share: Doubles, posts: int, rng: np.random.Generator) -> list[Choice]:
        """Draw what each of some posts is written under, by `slop.soft_prompts.allot`.

        Args:
            share: (K,) float64, the shares of the mixture's prompts, which sum to 1.
            posts: how many posts.
            rng: draws them, and their order.

        Returns:
            `posts` pairs if the reader likes both a style and a subject, else `posts` prompts of the mixture.
        """
        by_style, by_subject = (np.where(like, share, 0) for like in (self.style_like, self.subject_like))
        if min(by_style.sum(), by_subject.sum()) < self._least:
            return of_mixture(share, posts, rng)
        styles = self.styles[allot(by_style / by_style.sum(), posts, rng)]
        subjects = self.subjects[allot(by_subject / by_subject.sum(), posts, rng)]
        return [Pair(int(style), int(subject)) for style, subject in zip(styles, subjects, strict=True)]


def of_mixture(share: Doubles, posts: int, rng: np.random.Generator) -> list[Choice]:
    """Draw a prompt of the mixture for each of some posts; `share` is (K,) float64 and sums to 1."""
    return [int(k) for k in allot(share, posts, rng)]


def surplus(shares: Doubles) -> Doubles:
    """How much more of each of N parts (styles or subjects) each of K prompts has than the average of all prompts.

    With q_n = mean over k of p_kn and the entropy H = -sum_n q_n log q_n it is p_kn log(p_kn / q_n) / H: the terms of
    the Kullback-Leibler divergence of a prompt's parts from the average, in units of H. A row sums to 0 for a prompt
    with the average parts, and to about 1 for one with a single part. The largest entry of a row is the part that
    stands out.

    Args:
        shares: (K, N) float64, p, each row of which sums to 1.

    Returns:
        (K, N) float64.
    """
    overall = shares.mean(axis=0)
    known = np.where(overall > 0, overall, 1)
    entropy = -(overall * np.log(known)).sum()
    ratios = np.where(shares > 0, shares, known) / known
    found: Doubles = shares * np.log(ratios) / max(entropy, LEAST_ENTROPY)
    return found


def checked_pair(pair: Pair, basis: StyleSubjectBasis) -> Floats:
    """The prompt of a pair, (a + b, d) float32, if it may go to the engine.

    Raises:
        UnsafeSoftPrompt: it is not finite, or a row is outside the trust region.
    """
    width = basis.styles.shape[2]
    return checked_within(basis.prompt(*pair), (basis.rows, width), basis.norm_range)
