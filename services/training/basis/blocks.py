"""The vectors by which posts are clustered: embeddings, stylometrics, hidden states, engagement; rows of unit norm."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler, normalize

from slop.stylometrics import stylometrics

Floats = npt.NDArray[np.float32]
Block = npt.NDArray[np.floating]

COMPONENTS: Final = 32
STYLE_SHARE: Final = 0.7
ENGAGEMENT_SHARE: Final = 0.7
OPENING: Final = 0.01  # least share of the posts that begin alike for their opening to be a habit


class Blocks(NamedTuple):
    """Hidden states and embeddings, both reduced to principal components, and stylometrics: (N, D) each.

    Every row of a block is of unit norm, or zero.
    """

    hidden: Block
    embeddings: Block
    style: Block


def blocks_of(posts: Sequence[str], hidden_states: Floats, embeddings: Floats, seed: int) -> Blocks:
    """The three blocks of N posts.

    Args:
        posts: N texts.
        hidden_states: (N, 2 d), see `training.language_model.LanguageModel.hidden_states`.
        embeddings: (N, E) of a sentence embedder.
        seed: of the principal components.

    Returns:
        Blocks of 32, 32 and some two dozen columns.
    """
    hidden = StandardScaler().fit_transform(hidden_states)
    return Blocks(_compressed(hidden, seed), _compressed(embeddings, seed), _style(posts))


def clustering_space(posts: Sequence[str], embeddings: Floats, seed: int, engagement: Floats | None = None) -> Floats:
    """Embeddings, stylometrics times STYLE_SHARE and engagement times ENGAGEMENT_SHARE, side by side.

    Of all blocks that were compared these find classes best (`research.clusters`), and need no language model.

    Args:
        posts: N texts.
        embeddings: (N, E) of a sentence embedder.
        seed: of the principal components.
        engagement: (N, C), see `training.basis.engagement`; None if no reactions are known.

    Returns:
        (N, 32 + stylometrics + C) float32.
    """
    blocks = [_compressed(embeddings, seed), STYLE_SHARE * _style(posts)]
    if engagement is not None:
        blocks.append(ENGAGEMENT_SHARE * engagement)
    return np.hstack(blocks).astype(np.float32)


def openings_of(posts: Sequence[str]) -> Floats:
    """The openings that N posts share: the first word and the word or mark after it.

    Returns:
        (N, C) float32, a column of 0 and 1 for each of the C openings that at least OPENING of the posts have.
    """
    found = [" ".join(re.findall(r"\w+|[^\w\s]", post.lower())[:2]) for post in posts]
    common = [opening for opening, count in sorted(Counter(found).items()) if count >= OPENING * len(posts)]
    return np.array([[opening == one for one in common] for opening in found], dtype=np.float32)


def _compressed(block: Block, seed: int) -> Block:
    components = min(COMPONENTS, *block.shape)
    compressed: Block = normalize(PCA(components, random_state=seed).fit_transform(block))
    return compressed


def _style(posts: Sequence[str]) -> Block:
    style: Block = normalize(StandardScaler().fit_transform(np.array([stylometrics(text) for text in posts])))
    return style
