import numpy as np

from research.rankers import Crowd, EmbeddingRidge, MatrixFactorisation, PromptTokens, Slop, course
from slop.factors import Factors
from slop.settings import LearningSettings
from tests.basis import random_basis

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(6, 3)).astype(np.float32)
FACTORS = Factors((), np.zeros((0, 3), np.float32), np.zeros((5, 3), np.float32), np.zeros(3, np.float32))
EVERYTHING = range(6)
RATED = [(0, 0.8), (1, -0.6), (2, 0.4)]


def test_folding_in_gives_the_posterior_of_all_ratings_at_once() -> None:
    method = MatrixFactorisation(FACTORS, ROWS, noise=0.2, bias_variance=0.1)
    reader = method.reader()
    for joke, value in RATED:
        reader.learn(joke, value)
    jokes, values = [joke for joke, _ in RATED], np.array([value for _, value in RATED])
    rows, residuals = method.rows[jokes], values - method.means[jokes]
    covariance = np.linalg.inv(np.diag([1, 1, 10]) + rows.T @ rows / 0.2)
    expected = method.means + method.rows @ covariance @ rows.T @ residuals / 0.2
    np.testing.assert_allclose(reader.scores(EVERYTHING), expected)


def test_a_reader_of_slop_likes_what_is_like_what_was_liked() -> None:
    basis = random_basis()
    features = np.eye(basis.text_size, dtype=np.float32)[[0, 0, 1, 1]]
    reader = Slop(basis, LearningSettings().prior_of(basis), features).reader()
    reader.learn(0, 1.0)
    reader.learn(2, -1.0)
    scores = reader.scores(range(4))
    assert scores[1] == scores[0] > 0 > scores[3] == scores[2]
    assert 200 > reader.stored_bytes > 8 * basis.dimensions
    assert reader.tokens == PromptTokens(ranking=0, writing=5)


def test_ridge_follows_the_reader_and_the_crowd_does_not() -> None:
    embeddings = np.eye(6, dtype=np.float32)
    scores = course(RATED, EmbeddingRidge(embeddings).reader(), EVERYTHING, [3]).scores[3]
    assert scores.argmax() == 0
    assert scores.argmin() == 1
    means = np.arange(6.0)
    assert course(RATED, Crowd(means).reader(), EVERYTHING, [1, 3]).scores[3].tolist() == means.tolist()


def test_scores_are_taken_at_the_counts_and_of_the_jokes_that_are_asked_for() -> None:
    way = course(RATED, EmbeddingRidge(np.eye(6, dtype=np.float32)).reader(), [2, 0], [0, 2, 5])
    assert list(way.scores) == [0, 2]
    assert not way.scores[0].any()
    assert way.scores[2].shape == (2,)
    assert way.scores[2][1] > way.scores[2][0]
