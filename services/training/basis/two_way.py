"""Two-way clusters: a style and a subject for every post, each found after the other was subtracted."""

from typing import Final

import numpy as np
from sklearn.preprocessing import normalize
from tqdm import tqdm

from training.basis.blocks import Block, Blocks, Floats
from training.basis.clusters import Labels, centers_of, initial_clusters

TURNS: Final = 3
EMBEDDING_SHARE: Final = 0.7  # of the styles' space
HIDDEN_SHARE: Final = 0.4  # of the subjects' space
OPENINGS_SHARE: Final = 0.7  # of the styles' space


def two_way_clusters(blocks: Blocks, openings: Floats, styles: int, subjects: int, seed: int) -> Labels:
    """Alternate k-means of styles and of subjects, TURNS times, beginning with subjects by embeddings alone.

    Before each clustering, the mean of a post's cluster of the other kind is subtracted from the post's vectors.

    Args:
        blocks: of N posts, see `training.basis.blocks.blocks_of`.
        openings: (N, C), see `training.basis.blocks.openings_of`; only styles are clustered by them.
        styles: S, the number of styles.
        subjects: J, the number of subjects.
        seed: of k-means.

    Returns:
        (N, 2), every post's style and subject.
    """
    by_subject = initial_clusters(blocks.embeddings.astype(np.float32), subjects, seed)
    for _ in tqdm(range(TURNS), "two-way clusters", unit="turn"):
        by_style = initial_clusters(_style_space(blocks, openings, by_subject), styles, seed)
        by_subject = initial_clusters(_subject_space(blocks, by_style), subjects, seed)
    return np.stack([by_style, by_subject], axis=1)


def _style_space(blocks: Blocks, openings: Floats, by_subject: Labels) -> Floats:
    hidden, embeddings = (without(block, by_subject) for block in (blocks.hidden, blocks.embeddings))
    shares = [blocks.style, hidden, EMBEDDING_SHARE * embeddings, OPENINGS_SHARE * openings]
    return np.hstack(shares).astype(np.float32)


def _subject_space(blocks: Blocks, by_style: Labels) -> Floats:
    hidden = HIDDEN_SHARE * without(blocks.hidden, by_style)
    return np.hstack([without(blocks.embeddings, by_style), hidden]).astype(np.float32)


def without(block: Block, labels: Labels) -> Floats:
    """(N, D) rows of a block less their clusters' means, normalised to unit norm again."""
    rows = block.astype(np.float32)
    means = centers_of(rows, labels, int(labels.max()) + 1)
    rest: Floats = normalize(rows - means[labels])
    return rest
