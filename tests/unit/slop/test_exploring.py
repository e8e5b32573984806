"""How many posts explore, and under which prompts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slop.exploring import explored, sampled_best
from slop.soft_prompts import UnsafeSoftPrompt
from tests.basis import profile_of, random_basis

BASIS = random_basis()


@given(share=st.floats(0, 1), posts=st.integers(0, 64), seed=st.integers(0, 2**32))
def test_as_many_posts_explore_as_the_share_says_within_one(share: float, posts: int, seed: int) -> None:
    found = explored(share, posts, np.random.default_rng(seed))
    assert abs(len(found) - posts * share) < 1 + 1e-9
    assert len(set(found.tolist())) == len(found)
    assert all(0 <= post < posts for post in found)


def test_in_expectation_the_share_is_exact_also_where_it_is_less_than_a_post() -> None:
    rng = np.random.default_rng(1)
    assert np.mean([len(explored(0.05, 1, rng)) for _ in range(4_000)]) == pytest.approx(0.05, abs=0.015)
    assert len(explored(0.0, 16, rng)) == 0
    assert len(explored(1.0, 16, rng)) == 16


def test_what_is_known_to_be_disliked_is_explored_less_than_what_is_not_known() -> None:
    profile = profile_of(BASIS, (2.0, -2.0, 0.0, 0.0))
    mean, variance = profile.mean.copy(), profile.variance.copy()
    variance[:4] = (0.01, 0.01, 4.0, 4.0)
    sure = profile.moved(mean, variance, signals=0, at_ms=0)
    drawn = np.bincount(sampled_best(sure, BASIS.size, 4_000, np.random.default_rng(1)), minlength=BASIS.size)
    assert drawn[1] == 0
    assert min(drawn[2], drawn[3]) > 200
    assert drawn[0] > 1_000


def test_a_latent_that_is_not_finite_draws_nothing() -> None:
    profile = profile_of(BASIS, (2.0, -2.0, 0.0, 0.0))
    broken = profile.moved(np.full_like(profile.mean, np.nan), profile.variance, signals=0, at_ms=0)
    with pytest.raises(UnsafeSoftPrompt):
        sampled_best(broken, BASIS.size, 4, np.random.default_rng(1))
