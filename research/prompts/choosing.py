"""Ways that write more posts than a reader gets, and choose among them by the reader's taste and by their variety."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from research.topics.arms import POSTS, Pool, drawn
from slop.basis import Basis
from slop.profiles import Profile, scores
from slop.selection import select
from slop.soft_prompts import allot, shares

Floats = npt.NDArray[np.float32]
Reads = Callable[[Sequence[str]], tuple[Floats, Floats]]


@dataclass(frozen=True, slots=True)
class Choosing:
    """How posts are chosen.

    Attributes:
        candidates: that are written for each post that a reader gets.
        diversity: of `slop.selection.select`.
        is_under_prompt: whether each prompt keeps its share of the posts, and only candidates under the same prompt
            compete.
    """

    candidates: int
    diversity: float = 0.0
    is_under_prompt: bool = True


CHOOSING: Final = {
    **{f"best of {many} of all": Choosing(many, is_under_prompt=False) for many in (2, 4)},
    **{f"best of 4 of all, d {d}": Choosing(4, d, is_under_prompt=False) for d in (0.3, 0.5, 0.7)},
    **{f"best of {many} a prompt": Choosing(many) for many in (2, 4)},
    **{f"best of {many} a prompt, d {d}": Choosing(many, d) for many, d in ((2, 0.3), (4, 0.3), (4, 0.5), (4, 0.7))},
}
"""Ways that choose."""
CANDIDATES: Final = POSTS * max(way.candidates for way in CHOOSING.values())
"""As many of a reader's candidates may be under one prompt."""


@dataclass(frozen=True, slots=True)
class KnownTexts:
    """What the encoder says of texts.

    Attributes:
        features: (F,) float32 of each, as ranking takes them.
        embeddings: (E,) float32 of each, of unit norm.
    """

    features: Mapping[str, Floats]
    embeddings: Mapping[str, Floats]

    @classmethod
    def read(cls, basis: Basis, texts: Sequence[str], reads: Reads) -> Self:
        """Read texts.

        Args:
            basis: under which features are.
            texts: different ones.
            reads: gives the text features and the embeddings of texts.
        """
        rows, embeddings = reads(texts)
        features = [basis.features(row) for row in rows]
        return cls(dict(zip(texts, features, strict=True)), dict(zip(texts, embeddings, strict=True)))

    def likeness(self, texts: Sequence[str]) -> float:
        """The mean cosine of all pairs of at least two texts."""
        rows = np.stack([self.embeddings[text] for text in texts]).astype(np.float64)
        return float((rows @ rows.T)[np.triu_indices(len(rows), 1)].mean())


def chosen_posts(
    way: Choosing, basis: Basis, profile: Profile, pool: Pool, known: KnownTexts, rng: np.random.Generator
) -> list[str] | None:
    """The posts of a reader, in the order in which they are chosen; None for a reader without a positive weight.

    Args:
        way: how to choose.
        basis: what the profile is over.
        profile: of the reader.
        pool: under each prompt at least CANDIDATES posts, since no candidate is there twice.
        known: all posts of the pool.
        rng: source of every draw.
    """
    share = shares(profile, basis.size)
    if share is None:
        return None
    if way.is_under_prompt:
        places = np.bincount(allot(share, POSTS, rng), minlength=basis.size)
        candidates = places * way.candidates
    else:
        places = np.array([POSTS])
        candidates = np.bincount(allot(share, POSTS * way.candidates, rng), minlength=basis.size)
    dealt = [(k, post) for k, many in enumerate(candidates) for post in drawn(pool.posts[k], int(many), rng)]
    texts = [post for _, post in dealt]
    groups = [k if way.is_under_prompt else 0 for k, _ in dealt]
    value = scores(profile, np.stack([known.features[text] for text in texts]), basis.blocks)
    embeddings = np.stack([known.embeddings[text] for text in texts])
    return [texts[at] for at in select(value, embeddings, groups, places, way.diversity)]
