import numpy as np

from training.basis.engagement import COMPONENTS, FEWEST_REACTIONS, engagement_of
from training.factors.reactions import Reactions

READERS, POSTS = 120, 24
CAMPS = np.arange(POSTS) % 3


def reactions_to(readers: np.ndarray, posts: np.ndarray, values: np.ndarray, count: int = POSTS) -> Reactions:
    keys = [f"t/p{number}" for number in range(count)]
    return Reactions(readers, posts, values, np.full(len(values), 1.0), keys, np.zeros((count, 0)))


def of_three_camps(seed: int = 0) -> Reactions:
    """A third of all reactions of readers who like one camp's posts, in [-1, 1]; some like everything more."""
    rng = np.random.default_rng(seed)
    likes = np.where(rng.integers(3, size=(READERS, 1)) == CAMPS, 0.6, -0.3) + 0.3 * rng.normal(size=(READERS, 1))
    popular = 0.4 * rng.normal(size=POSTS)
    readers, posts = np.nonzero(rng.random(likes.shape) < 1 / 3)
    return reactions_to(readers, posts, np.clip(likes + popular, -1, 1)[readers, posts])


def test_posts_that_the_same_readers_like_lie_together_however_popular_they_are() -> None:
    places = engagement_of(of_three_camps(), seed=0)
    assert places is not None
    assert np.allclose(np.linalg.norm(places, axis=1), 1, atol=1e-5)
    nearness = places @ places.T - np.eye(POSTS)
    camps = np.stack([nearness[:, camp == CAMPS].mean(axis=1) for camp in range(3)], axis=1)
    assert (camps.argmax(axis=1) == CAMPS).all()


def test_nothing_is_said_of_posts_with_too_few_reactions() -> None:
    given = of_three_camps()
    some = (given.posts != 5) | (np.cumsum(given.posts == 5) < FEWEST_REACTIONS)
    fewer = reactions_to(given.readers[some], given.posts[some], given.values[some], count=POSTS + 1)
    places = engagement_of(fewer, seed=0)
    assert places is not None
    assert places.shape == (POSTS + 1, min(COMPONENTS, POSTS - 1))
    assert np.flatnonzero(~places.any(axis=1)).tolist() == [5, POSTS]


def test_a_reader_who_reacts_again_and_again_is_one_reader() -> None:
    again = np.zeros(10, np.intp)
    assert engagement_of(reactions_to(again, again, np.ones(10)), seed=0) is None


def test_readers_who_all_agree_tell_nothing_apart_from_noise() -> None:
    readers, posts = (part.ravel() for part in np.indices((6, 4)))
    places = engagement_of(reactions_to(readers, posts, np.zeros(24), count=4), seed=0)
    assert places is not None
    assert not places.any()


def test_without_reactions_nothing_is_known() -> None:
    nobody = np.zeros(0, np.intp)
    assert engagement_of(reactions_to(nobody, nobody, np.zeros(0)), seed=0) is None
