import numpy as np
from sklearn.metrics import normalized_mutual_info_score
from sklearn.preprocessing import normalize

from training.basis.blocks import Blocks
from training.basis.two_way import two_way_clusters, without

STYLES, SUBJECTS, A_PAIR = 3, 4, 12
STYLE = np.repeat(np.arange(STYLES), SUBJECTS * A_PAIR)
SUBJECT = np.tile(np.repeat(np.arange(SUBJECTS), A_PAIR), STYLES)


def mixed(style: float, subject: float, seed: int) -> np.ndarray:
    """A block in which posts lie by their style and their subject, each so strongly."""
    rng = np.random.default_rng(seed)
    centers = style * rng.normal(size=(STYLES, 16)), subject * rng.normal(size=(SUBJECTS, 16))
    noise = 0.5 * rng.normal(size=(STYLE.size, 16))
    return normalize(centers[0][STYLE] + centers[1][SUBJECT] + noise).astype(np.float32)


OPENINGS = np.zeros((STYLE.size, 1), dtype=np.float32)
BLOCKS = Blocks(hidden=mixed(1.5, 1.5, seed=1), embeddings=mixed(1.0, 2.5, seed=2), style=mixed(1.5, 0.5, seed=3))


def test_styles_and_subjects_are_found_in_posts_that_have_both() -> None:
    found = two_way_clusters(BLOCKS, OPENINGS, STYLES, SUBJECTS, seed=0)
    assert found.shape == (STYLE.size, 2)
    assert normalized_mutual_info_score(STYLE, found[:, 0]) > 0.9
    assert normalized_mutual_info_score(SUBJECT, found[:, 1]) > 0.9


def test_a_seed_gives_the_same_clusters() -> None:
    first, again = (two_way_clusters(BLOCKS, OPENINGS, STYLES, SUBJECTS, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_what_posts_of_a_cluster_share_is_taken_out_of_them() -> None:
    rest = without(BLOCKS.hidden, SUBJECT)
    np.testing.assert_allclose(np.linalg.norm(rest, axis=1), 1, atol=1e-5)
    means = np.stack([rest[subject == SUBJECT].mean(axis=0) for subject in range(SUBJECTS)])
    assert np.linalg.norm(means, axis=1).max() < 0.2


def test_a_post_that_is_alone_in_its_cluster_leaves_nothing() -> None:
    rest = without(np.eye(3, dtype=np.float32), np.array([0, 1, 1]))
    np.testing.assert_array_equal(rest[0], np.zeros(3))
    assert np.isfinite(rest).all()


def test_posts_that_begin_alike_are_of_one_style() -> None:
    openings = (STYLE == 0).astype(np.float32)[:, None]
    blocks = BLOCKS._replace(style=mixed(0, 0, seed=3))
    found = two_way_clusters(blocks, openings, STYLES, SUBJECTS, seed=0)
    styles = np.bincount(found[STYLE == 0, 0], minlength=STYLES)
    assert styles.max() / styles.sum() > 0.9
