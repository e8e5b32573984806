from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slop.basis import EmbedderName
from slop.text_features import LengthScale
from tests.basis import TinyEmbedder, basis_of, random_head
from tests.tiny_model import random_prompts
from training.basis.distil import Fitted, candidates_of, components_of, fitted, out_of_fold

RNG = np.random.default_rng(14)
OWNERS = np.arange(120) % 3
INPUTS = RNG.normal(size=(120, 5)) + 4 * np.eye(3, 5)[OWNERS]
SHARES = np.eye(3)[OWNERS]


def test_a_head_tells_posts_apart_that_inputs_tell_apart() -> None:
    found = fitted(INPUTS, SHARES, penalty=1e-3).shares(INPUTS)
    assert (found.argmax(axis=1) == OWNERS).mean() > 0.95


@settings(max_examples=25)
@given(st.integers(1, 40), st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_the_mean_of_what_a_head_says_is_the_mean_of_what_it_learned_from(posts: int, prompts: int, seed: int) -> None:
    """As of every multinomial logistic regression whose bias is not penalised, at its optimum."""
    rng = np.random.default_rng(seed)
    inputs, shares = rng.normal(size=(posts, 4)), rng.dirichlet(np.full(prompts, 0.7), size=posts)
    found = fitted(inputs, shares, penalty=1e-2).shares(inputs)
    np.testing.assert_allclose(found.mean(axis=0), shares.mean(axis=0), atol=5e-3)


def test_an_input_that_never_differs_says_nothing_and_breaks_nothing() -> None:
    same = np.column_stack([INPUTS, np.full(len(INPUTS), 7.0)])
    head = fitted(same, SHARES, penalty=1e-3)
    assert head.fits(3)
    moved = same.copy()
    moved[:, -1] += 2.0
    np.testing.assert_allclose(head.shares(moved), head.shares(same), atol=1e-6)


def test_what_is_said_of_a_post_out_of_its_fold_was_not_learned_from_it() -> None:
    noise = np.random.default_rng(0).normal(size=(60, 80))
    by_chance = np.eye(3)[np.random.default_rng(1).integers(3, size=60)]
    inside = fitted(noise, by_chance, penalty=1e-3).shares(noise)
    outside = out_of_fold(noise, by_chance, 1e-3, seed=0)
    right = by_chance.argmax(axis=1)
    assert (inside.argmax(axis=1) == right).all()
    assert (outside.argmax(axis=1) == right).mean() < 0.6
    np.testing.assert_allclose(outside.sum(axis=1), 1)


@pytest.mark.parametrize(("count", "chosen"), [(0, 0), (2, 2), (9, 4)])
def test_so_many_prompts_are_candidates_of_every_post(count: int, chosen: int) -> None:
    shares = np.array([[0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25]])
    candidates = candidates_of(shares, count)
    assert candidates.sum(axis=1).tolist() == [chosen, chosen]
    if count == 2:
        assert candidates.tolist() == [[False, False, True, True], [True, True, False, False]]


def test_components_have_the_share_that_was_asked_for_and_are_the_directions_of_most_difference() -> None:
    embeddings = (RNG.normal(size=(200, 6)) * [5, 3, 1, 0.5, 0.1, 0.1]).astype(np.float32)
    components = components_of(embeddings, 2, share=1.4)
    assert components is not None
    found = components.of_embeddings(embeddings)
    assert found.shape == (200, 2)
    assert np.linalg.norm(found, axis=1).mean() == pytest.approx(1.4, rel=1e-4)
    assert (np.abs(components.directions).argmax(axis=0) == [0, 1]).all()
    assert components_of(embeddings, 0, share=1.4) is None


@pytest.mark.parametrize("components", [0, 2])
def test_a_basis_with_another_head_keeps_its_prompts_and_what_the_crowd_thinks_of_them(components: int) -> None:
    basis = basis_of(random_prompts(4).numpy())
    basis = replace(basis, crowd_direction=np.array([0.1, 0.2, 0.3, 0.4, 0.5], np.float32))
    embeddings = RNG.normal(size=(20, TinyEmbedder.width)).astype(np.float32)
    fit = Fitted(
        center=np.full(4, 0.25, np.float32),
        scale=0.7,
        head=random_head(4, seed=3),
        embedder=EmbedderName("other", "2"),
        length=LengthScale(2.0, 0.4),
        components=components_of(embeddings, components, 0.5),
        built={"written_posts": 7},
    )
    found = fit.of(basis)
    np.testing.assert_array_equal(found.prompts, basis.prompts)
    np.testing.assert_allclose(found.crowd_direction, [0.1, 0.2, 0.3, 0.4, 0.5, *[0.0] * components])
    assert (found.factors, found.embedder.revision, found.built["written_posts"]) == (None, "2", 7)
    assert found.text_size == fit.text_size == 5 + components
    assert found.prompts_version == basis.prompts_version
    assert found.version != basis.version
