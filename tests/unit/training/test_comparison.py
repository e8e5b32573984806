from dataclasses import replace

import numpy as np
import pytest

from slop.settings import LearningSettings
from tests.basis import random_basis
from training.comparison import NotBetter, compared
from training.factors import Reactions

LIVE, NEXT = random_basis(seed=0), random_basis(seed=1)
READERS, POSTS = 40, 30
PRIOR = LearningSettings().prior_of


def reactions(readers: int = READERS) -> tuple[Reactions, Reactions]:
    """The same reactions twice: with text features that tell nothing of them, and with ones that do."""
    rng = np.random.default_rng(0)
    telling = rng.normal(size=(POSTS, LIVE.text_size))
    tastes = rng.normal(size=(readers, LIVE.text_size))
    who, what = np.indices((readers, POSTS)).reshape(2, -1)
    order = np.lexsort((rng.random(who.size), who))
    who, what = who[order], what[order]
    values = np.tanh(tastes @ telling.T)[who, what]
    keys = [f"default/p{number}" for number in range(POSTS)]
    blind = Reactions(who, what, values, np.ones(who.size), keys, rng.normal(size=telling.shape))
    return blind, replace(blind, text_features=telling)


def texts_of(given: Reactions) -> dict[str, np.ndarray]:
    return dict(zip(given.keys, given.text_features, strict=True))


def test_a_basis_whose_features_tell_more_of_readers_is_better() -> None:
    blind, telling = reactions()
    found = compared(LIVE, NEXT, blind, texts_of(telling), PRIOR)
    assert found.before.mean() < 0.6
    assert found.after.mean() > 0.7
    assert found.after.size == READERS


def test_a_basis_that_tells_less_is_refused_with_the_figures() -> None:
    blind, telling = reactions()
    with pytest.raises(NotBetter, match=r"40 held-out readers 0\.\d+ before, 0\.\d+ after, gain -0"):
        compared(LIVE, NEXT, telling, texts_of(blind), PRIOR)


def test_a_basis_of_the_same_features_is_no_better() -> None:
    _, telling = reactions()
    with pytest.raises(NotBetter, match=r"gain \+0\.0000"):
        compared(LIVE, NEXT, telling, texts_of(telling), PRIOR)


def test_posts_without_features_under_the_next_basis_are_left_out_of_both() -> None:
    blind, telling = reactions()
    some = {key: text for key, text in texts_of(telling).items() if key > "default/p2"}
    kept = blind.of_posts(np.array([key in some for key in blind.keys]))
    assert set(kept.keys) == set(some)
    assert [kept.keys[post] for post in kept.posts] == [blind.keys[p] for p in blind.posts if blind.keys[p] in some]
    assert compared(LIVE, NEXT, blind, some, PRIOR).after.mean() > 0.6


def test_a_handful_of_readers_can_tell_nothing() -> None:
    blind, telling = reactions(readers=9)
    with pytest.raises(NotBetter, match="9 readers with enough reactions that differ, 10 are needed"):
        compared(LIVE, NEXT, blind, texts_of(telling), PRIOR)
    with pytest.raises(NotBetter, match="0 readers"):
        compared(LIVE, NEXT, blind, {}, PRIOR)
