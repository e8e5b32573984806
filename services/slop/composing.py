"""From a reader's weights over the mixture to posts that have a style and a subject at once, by a factored basis.

A reader whose tastes are a style and a subject gets both in every post; everybody else gets the mixture's prompts.
"""

from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from slop.soft_prompts import allot, checked_within
from slop.style_subject import StyleSubjectBasis

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

COMPOSED_FROM: Final = 0.05
"""The share that style-like prompts must have of a reader's posts, and subject-like ones too, for composed posts.

Shares are third powers of weights: this is a weight .37 times as large as that of the other kind. How many readers of
each kind are composed for is in the results of `research.topics`.
"""
MARGIN: Final = 0.25
"""How much more a prompt's posts must gather in one style than in one subject, or the other way round."""
LEAST_ENTROPY: Final = 1e-6  # nats; below it all prompts have one part alone, and what differs is rounding


class Pair(NamedTuple):
    """A style and a subject of a factored basis."""

    style: int
    subject: int


Choice = int | Pair
"""What a post is written under: a prompt of the mixture, or a pair."""


class Composer:
    """Chooses what each post of a reader is written under.

    Attributes:
        style_like: (K,) bool, the mixture's prompts that stand for a style.
        subject_like: (K,) bool, those that stand for a subject; a prompt may be neither.
        styles: (K,) the style that each prompt's posts gather in.
        subjects: (K,) the subject that they gather in.
    """

    def __init__(self, of_prompts: npt.NDArray[np.floating], least: float = COMPOSED_FROM) -> None:
        """How each of the mixture's prompts is spread over styles and subjects, (K, S, J), and who is composed for."""
        by_style, by_subject = (surplus(of_prompts.sum(axis=axis, dtype=np.float64)) for axis in (2, 1))
        ahead = by_style.sum(axis=1) - by_subject.sum(axis=1)
        self.style_like, self.subject_like = ahead > MARGIN, ahead < -MARGIN
        self.styles, self.subjects = by_style.argmax(axis=1), by_subject.argmax(axis=1)
        self._least = least

    @classmethod
    def of(cls, factored: StyleSubjectBasis | None) -> Self | None:
        """The composer of a factored basis that knows a mixture's prompts; None without one."""
        return None if factored is None or factored.of_prompts is None else cls(factored.of_prompts)

    def draw(self, share: Doubles, posts: int, rng: np.random.Generator) -> list[Choice]:
        """Draw for each of a batch of posts, so that the batch keeps the shares, as `slop.soft_prompts.allot` does.

        Args:
            share: (K,) of the mixture's prompts, sums to 1.
            posts: how many.
            rng: source of the draw and of the order.
        """
        by_style, by_subject = (np.where(like, share, 0) for like in (self.style_like, self.subject_like))
        if min(by_style.sum(), by_subject.sum()) < self._least:
            return of_mixture(share, posts, rng)
        styles = self.styles[allot(by_style / by_style.sum(), posts, rng)]
        subjects = self.subjects[allot(by_subject / by_subject.sum(), posts, rng)]
        return [Pair(int(style), int(subject)) for style, subject in zip(styles, subjects, strict=True)]


def of_mixture(share: Doubles, posts: int, rng: np.random.Generator) -> list[Choice]:
    """Draw a prompt of the mixture for each of a batch of posts, (K,) being their shares."""
    return [int(k) for k in allot(share, posts, rng)]


def surplus(shares: Doubles) -> Doubles:
    """How much more of each part (a style, a subject) prompts have than all prompts do: p log(p / mean p).

    Args:
        shares: (K, N), each row sums to 1.

    Returns:
        (K, N), relative to the entropy of all prompts' shares. A row's sum is 0 for a prompt with the shares of all,
        and about 1 for one that is in one part alone; its largest value is that of the part that stands out.
    """
    overall = shares.mean(axis=0)
    known = np.where(overall > 0, overall, 1)
    entropy = -(overall * np.log(known)).sum()
    ratios = np.where(shares > 0, shares, known) / known
    found: Doubles = shares * np.log(ratios) / max(entropy, LEAST_ENTROPY)
    return found


def checked_pair(pair: Pair, factored: StyleSubjectBasis) -> Floats:
    """The (a + b, d) prompt of a pair, if it is safe for the engine.

    Raises:
        UnsafeSoftPrompt: not finite, of another shape than the basis', or with a row outside the trust region.
    """
    width = factored.styles.shape[2]
    return checked_within(factored.prompt(*pair), (factored.rows, width), factored.norm_range)
