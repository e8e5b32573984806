from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from slop.basis import Basis, InvalidBasis
from slop.factors import Factors, InvalidFactors
from slop.latent import Block
from slop.profiles import Profile, scores
from tests.basis import random_basis

RNG = np.random.default_rng(0)
FACTORS = Factors(
    posts=("default/a", "default/b"),
    known=RNG.normal(size=(2, 3)).astype(np.float32),
    text_map=RNG.normal(size=(5, 3)).astype(np.float32),
    offset=np.array([0.0, 0.1, 0.2], np.float32),
    text_share=0.25,
)
TEXT = RNG.normal(size=5).astype(np.float32)


def test_a_known_post_has_its_own_factors_and_others_those_of_their_text() -> None:
    basis = replace(random_basis(), factors=FACTORS)
    by_text = FACTORS.offset + TEXT @ FACTORS.text_map
    np.testing.assert_array_equal(basis.features(TEXT, "default/b"), [*TEXT, *FACTORS.known[1]])
    np.testing.assert_allclose(basis.features(TEXT, "default/c"), [*TEXT, *by_text], rtol=1e-6)
    np.testing.assert_allclose(basis.features(TEXT), [*TEXT, *by_text], rtol=1e-6)


def test_factors_are_a_block_with_a_bias_of_its_own() -> None:
    basis = replace(random_basis(), factors=FACTORS)
    assert basis.blocks == (Block(5, 0.25), Block(3, 1.0))
    assert (basis.feature_count, basis.dimensions) == (8, 10)


def test_a_new_reader_ranks_as_the_crowd_does() -> None:
    basis = replace(random_basis(), factors=replace(FACTORS, text_share=0.0))
    newborn = Profile.new(basis.version, basis.prior(1.0, 0.5, 1.0))
    features = np.stack([basis.features(TEXT, post) for post in FACTORS.posts])
    np.testing.assert_allclose(scores(newborn, features, basis.blocks), FACTORS.known[:, -1])


def test_a_basis_comes_back_with_its_factors(tmp_path: Path) -> None:
    basis = replace(random_basis(), factors=FACTORS)
    basis.save(tmp_path)
    back = Basis.load(tmp_path)
    assert back.version == basis.version
    assert back.factors is not None
    assert (back.factors.posts, back.factors.text_share) == (FACTORS.posts, 0.25)
    assert back.factors.known.tobytes() == FACTORS.known.tobytes()


def test_factors_change_the_version_but_not_that_of_the_texts() -> None:
    plain = random_basis()
    changed = [
        FACTORS,
        replace(FACTORS, known=FACTORS.known + 1),
        replace(FACTORS, text_map=FACTORS.text_map + 1),
        replace(FACTORS, text_share=0.5),
        replace(FACTORS, posts=("default/a", "default/c")),
    ]
    bases = [plain, *(replace(plain, factors=factors) for factors in changed)]
    assert len({basis.version for basis in bases}) == len(bases)
    assert len({basis.text_version for basis in bases}) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"posts": ("default/a",)},
        {"offset": np.zeros(4, np.float32)},
        {"text_map": np.zeros((5, 2), np.float32)},
        {"known": np.full((2, 3), np.nan, np.float32)},
        {"text_share": float("inf")},
    ],
)
def test_factors_that_do_not_fit_or_are_not_finite_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidFactors):
        replace(FACTORS, **wrong)


def test_factors_for_other_text_features_are_refused() -> None:
    with pytest.raises(InvalidBasis, match="text features"):
        replace(random_basis(), factors=replace(FACTORS, text_map=np.zeros((7, 3), np.float32)))


def test_a_basis_whose_factors_are_broken_says_so(tmp_path: Path) -> None:
    replace(random_basis(), factors=FACTORS).save(tmp_path)
    (tmp_path / "factors.json").write_text("{}")
    with pytest.raises(InvalidBasis, match="no usable basis"):
        Basis.load(tmp_path)
