import numpy as np

from trainer.basis.blocks import clustering_space, stylometrics


def test_stylometrics_tell_styles_apart_and_ignore_the_subject() -> None:
    question, other_question = stylometrics("Why do dogs bark?"), stylometrics("Why do stars fade?")
    shout = stylometrics("DOGS BARK!!!")
    assert len(question) == len(shout)
    assert np.abs(np.subtract(question, other_question)).sum() < np.abs(np.subtract(question, shout)).sum()


def test_stylometrics_of_an_empty_post_are_finite() -> None:
    assert np.isfinite(stylometrics("")).all()


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
