from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from slop.profiles import Profile
from slop.reproducible import Doubles
from slop.soft_prompts import MAX_WEIGHT_NORM, UnsafeSoftPrompt, allot, checked, shares
from tests.basis import random_basis

WEIGHTS = hnp.arrays(np.float32, st.integers(1, 30), elements=st.floats(-10, 10, width=32))


def reader(weights: object, bias: float = 0.0) -> Profile:
    mean = np.concatenate([np.asarray(weights, np.float32), [0.0, bias]]).astype(np.float32)
    return Profile("b", mean, np.ones_like(mean))


@given(WEIGHTS)
def test_shares_are_a_distribution_over_the_positive_weights(weights: Doubles) -> None:
    share = shares(reader(weights), len(weights))
    if share is None:
        assert not (weights > 0).any()
        return
    assert share.sum() == pytest.approx(1)
    assert (share >= 0).all()
    assert (share[weights <= 0] == 0).all()
    assert share[weights.argmax()] == share.max()


def test_shares_are_the_third_power_of_the_weights() -> None:
    np.testing.assert_allclose(shares(reader([1, 2, -3]), 3), [1 / 9, 8 / 9, 0])


def test_strength_makes_shares_flatter_or_sharper() -> None:
    tops = []
    for strength in (1 / 3, 1.0, 4.0):
        share = shares(reader([1, 1.5]), 2, strength)
        assert share is not None
        tops.append(share[1])
    assert tops[0] == pytest.approx(0.6)
    assert tops == sorted(tops)


def test_the_bias_has_no_share() -> None:
    share = shares(reader([1, 1], bias=50), 2)
    assert share is not None
    assert share.tolist() == [0.5, 0.5]


def test_a_reader_who_likes_nothing_has_no_shares() -> None:
    assert shares(reader([0, -1, -2], bias=3), 3) is None


@pytest.mark.parametrize("weight", [np.nan, np.inf, 2 * MAX_WEIGHT_NORM])
def test_a_wild_latent_is_unsafe(weight: float) -> None:
    with pytest.raises(UnsafeSoftPrompt):
        shares(reader([1, weight]), 2)


@given(hnp.arrays(np.float64, st.integers(1, 20), elements=st.floats(0.01, 1)), st.integers(1, 40), st.integers(0, 99))
def test_a_batch_of_posts_keeps_the_shares_to_within_one_post(raw: Doubles, posts: int, seed: int) -> None:
    share = raw / raw.sum()
    drawn = allot(share, posts, np.random.default_rng(seed))
    counts = np.bincount(drawn, minlength=share.size)
    assert drawn.shape == (posts,)
    assert counts.sum() == posts
    assert (np.abs(counts - posts * share) < 1 + 1e-9).all()


def test_a_prompt_without_share_is_never_drawn() -> None:
    share = np.array([0.5, 0, 0.5, 0])
    drawn = [allot(share, 8, np.random.default_rng(seed)) for seed in range(200)]
    assert set(np.concatenate(drawn).tolist()) == {0, 2}


def test_over_many_batches_of_one_post_every_taste_gets_its_share() -> None:
    share, rng = np.array([0.2, 0.8]), np.random.default_rng(1)
    drawn = np.concatenate([allot(share, 1, rng) for _ in range(4_000)])
    assert (drawn == 0).mean() == pytest.approx(0.2, abs=0.02)


def test_the_prompts_of_the_basis_are_safe() -> None:
    basis = random_basis()
    for prompt in basis.prompts:
        assert checked(prompt, basis) is prompt


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_prompt_that_is_not_finite_is_unsafe(value: float) -> None:
    basis = random_basis()
    prompt = basis.prompts[0].copy()
    prompt[1, 2] = value
    with pytest.raises(UnsafeSoftPrompt, match="not finite"):
        checked(prompt, basis)


@pytest.mark.parametrize("factor", [0.1, 10])
def test_a_prompt_outside_the_trust_region_is_unsafe(factor: float) -> None:
    basis = random_basis()
    with pytest.raises(UnsafeSoftPrompt, match="norms"):
        checked(factor * basis.prompts[0], basis)


def test_a_prompt_of_another_shape_is_unsafe() -> None:
    basis = random_basis()
    with pytest.raises(UnsafeSoftPrompt, match="shape"):
        checked(basis.prompts[0][:1], basis)


def test_a_zero_prompt_is_unsafe() -> None:
    basis = replace(random_basis(), norm_range=(0.5, 9.0))
    with pytest.raises(UnsafeSoftPrompt, match="norms"):
        checked(np.zeros_like(basis.prompts[0]), basis)


def test_a_taste_for_length_asks_for_no_prompt() -> None:
    profile = reader([0.0, 0.0])
    long_winded = replace(profile, mean=np.array([0.0, 0.0, 9.0, 0.0], np.float32))
    assert shares(long_winded, 2) is None
