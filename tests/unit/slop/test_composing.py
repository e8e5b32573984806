from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from slop.composing import Composer, Pair, checked_pair, surplus
from slop.reproducible import Doubles
from slop.soft_prompts import UnsafeSoftPrompt, allot
from tests.basis import random_style_subject, spread_over

# Two subjects, two styles, and one that is of all.
OF_PROMPTS = spread_over([(None, 1), (None, 3), (2, None), (0, None), (None, None)])
COMPOSER = Composer(OF_PROMPTS)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_prompt_stands_for_what_its_posts_gather_in() -> None:
    assert COMPOSER.subject_like.tolist() == [True, True, False, False, False]
    assert COMPOSER.style_like.tolist() == [False, False, True, True, False]
    assert COMPOSER.subjects[:2].tolist() == [1, 3]
    assert COMPOSER.styles[2:4].tolist() == [2, 0]


def test_a_prompt_of_one_style_and_one_subject_stands_for_neither() -> None:
    composer = Composer(spread_over([(0, 0), (1, 1), (2, 2), (3, 3)], styles=4))
    assert not (composer.style_like | composer.subject_like).any()


def test_a_style_that_all_prompts_have_tells_nothing_of_a_prompt() -> None:
    composer = Composer(spread_over([(0, 0), (0, 1), (0, 2), (1, None)]))
    assert composer.subject_like.tolist() == [True, True, True, False]
    assert composer.style_like.tolist() == [False, False, False, True]


def test_a_few_posts_of_a_rare_style_do_not_make_it_the_prompts_own() -> None:
    spread = spread_over([(0, None), (1, None), (None, 0), (None, 1)], styles=12)
    spread[:, 2] = 0
    spread[0] *= 0.97
    spread[0, 2, 0] = 0.03
    assert Composer(spread / spread.sum(axis=(1, 2), keepdims=True)).styles[0] == 0


def test_a_reader_of_a_subject_and_a_style_gets_both_in_every_post() -> None:
    assert set(COMPOSER.draw(np.array([0.5, 0, 0.5, 0, 0]), 8, rng())) == {Pair(2, 1)}


@pytest.mark.parametrize("seed", range(5))
def test_two_subjects_in_a_style_keep_their_shares(seed: int) -> None:
    drawn = COMPOSER.draw(np.array([0.3, 0.3, 0, 0.4, 0]), 8, rng(seed))
    assert sorted(drawn) == [Pair(0, 1)] * 4 + [Pair(0, 3)] * 4


@pytest.mark.parametrize(
    "share", [[0.5, 0.5, 0, 0, 0], [0, 0, 0.4, 0.6, 0], [0.97, 0, 0.03, 0, 0], [0, 0, 0.5, 0, 0.5]]
)
def test_whoever_has_only_one_side_gets_the_mixture_as_ever(share: list[float]) -> None:
    assert COMPOSER.draw(np.array(share), 8, rng()) == allot(np.array(share), 8, rng()).tolist()


def test_how_much_of_either_side_is_enough_can_be_chosen() -> None:
    composer = Composer(OF_PROMPTS, least=0.02)
    assert set(composer.draw(np.array([0.97, 0, 0.03, 0, 0]), 4, rng())) == {Pair(2, 1)}


@given(hnp.arrays(np.float64, 5, elements=st.floats(0.01, 1)), st.integers(1, 16), st.integers(0, 99))
def test_every_post_is_drawn_for_and_only_what_there_is(raw: Doubles, posts: int, seed: int) -> None:
    drawn = COMPOSER.draw(raw / raw.sum(), posts, rng(seed))
    assert len(drawn) == posts
    for choice in drawn:
        assert choice in {Pair(2, 1), Pair(2, 3), Pair(0, 1), Pair(0, 3)} if isinstance(choice, Pair) else choice < 5


@given(hnp.arrays(np.float64, (6, 4), elements=st.floats(0, 1)))
def test_a_surplus_is_finite_and_its_sum_no_less_than_nothing(raw: Doubles) -> None:
    raw[:, 3] += 0.1
    shares = raw / raw.sum(axis=1, keepdims=True)
    found = surplus(shares)
    assert np.isfinite(found).all()
    assert (found.sum(axis=1) >= -1e-9).all()


def test_one_style_alone_is_no_surplus() -> None:
    assert surplus(np.ones((3, 1))).tolist() == [[0], [0], [0]]


def test_without_shares_of_prompts_nothing_is_composed() -> None:
    assert Composer.of(None) is None
    assert Composer.of(random_style_subject()) is None
    assert Composer.of(replace(random_style_subject(), of_prompts=spread_over([(0, None)]))) is not None


def test_the_prompts_of_all_pairs_are_safe() -> None:
    style_subject = random_style_subject()
    for number, prompt in enumerate(style_subject.pairs()):
        np.testing.assert_array_equal(checked_pair(Pair(*divmod(number, 4)), style_subject), prompt)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e4])
def test_a_pair_that_harms_the_engine_is_unsafe(bad: float) -> None:
    style_subject = random_style_subject()
    style_subject.subjects[2, 1, 3] = bad
    with pytest.raises(UnsafeSoftPrompt):
        checked_pair(Pair(0, 2), style_subject)
