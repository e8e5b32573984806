"""Two-way clusters: every post has a style and a subject, each found in what the other leaves of the post."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from sklearn.preprocessing import normalize
from tqdm import tqdm

from trainer.basis.blocks import Block, Blocks, Floats
from trainer.basis.clusters import Labels, centers_of, initial_clusters

TURNS: Final = 3
EMBEDDING_SHARE: Final = 0.7  # of the styles' space
HIDDEN_SHARE: Final = 0.4  # of the subjects' space


@dataclass(frozen=True, slots=True)
class TwoWay:
    """Posts by style and by subject.

    Attributes:
        labels: (N, 2), every post's style and subject.
        spaces: the (N, D) float32 spaces that styles and subjects were found in.
    """

    labels: Labels
    spaces: tuple[Floats, Floats]


def two_way_clusters(blocks: Blocks, styles: int, subjects: int, seed: int) -> TwoWay:
    """Alternate k-means of styles and of subjects, TURNS times, beginning with subjects by embeddings alone.

    What a cluster of the other kind has in common is taken out of a post before it is clustered (DESIGN section 4).

    Args:
        blocks: of N posts, see `trainer.basis.blocks.blocks_of`.
        styles: how many; more than are expected, for the tones of the posts that have no style of their own.
        subjects: how many.
        seed: of k-means.
    """
    by_subject = initial_clusters(blocks.embeddings.astype(np.float32), subjects, seed)
    for _ in tqdm(range(TURNS), "two-way clusters", unit="turn"):
        style_space = _style_space(blocks, by_subject)
        by_style = initial_clusters(style_space, styles, seed)
        subject_space = _subject_space(blocks, by_style)
        by_subject = initial_clusters(subject_space, subjects, seed)
    return TwoWay(np.stack([by_style, by_subject], axis=1), (style_space, subject_space))


def _style_space(blocks: Blocks, by_subject: Labels) -> Floats:
    embeddings = EMBEDDING_SHARE * without(blocks.embeddings, by_subject)
    return np.hstack([blocks.style, without(blocks.hidden, by_subject), embeddings]).astype(np.float32)


def _subject_space(blocks: Blocks, by_style: Labels) -> Floats:
    hidden = HIDDEN_SHARE * without(blocks.hidden, by_style)
    return np.hstack([without(blocks.embeddings, by_style), hidden]).astype(np.float32)


def without(block: Block, labels: Labels) -> Floats:
    """A block's (N, D) rows less the means of their clusters, each of unit norm again."""
    rows = block.astype(np.float32)
    means = centers_of(rows, labels, int(labels.max()) + 1)
    rest: Floats = normalize(rows - means[labels])
    return rest
