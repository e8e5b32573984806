import numpy as np

from training.basis.blocks import clustering_space


def test_every_block_has_its_share_of_the_space() -> None:
    rng = np.random.default_rng(0)
    texts = [f"post {i}{'!' * (i % 3)}" for i in range(40)]
    space = clustering_space(texts, rng.normal(size=(40, 50)).astype(np.float32), seed=0)
    assert np.allclose(np.linalg.norm(space[:, :32], axis=1), 1, atol=1e-5)
    assert np.linalg.norm(space[:, 32:], axis=1).max() <= 0.7 + 1e-5


def test_engagement_is_beside_the_other_blocks_where_something_is_known() -> None:
    rng = np.random.default_rng(0)
    texts, embeddings = [f"post {i}" for i in range(40)], rng.normal(size=(40, 50)).astype(np.float32)
    engagement = np.eye(40, 6, dtype=np.float32)
    alone, both = (clustering_space(texts, embeddings, 0, known) for known in (None, engagement))
    assert np.array_equal(both[:, :-6], alone)
    assert np.allclose(both[:, -6:], 0.7 * engagement)
