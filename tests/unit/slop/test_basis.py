import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from slop.basis import Basis, EmbedderName, InvalidBasis, Template
from slop.reproducible import Doubles
from slop.text_features import Components, LengthScale, responsibilities
from tests.basis import random_basis, random_head


def saved_basis(folder: Path) -> Basis:
    basis = random_basis()
    basis.save(folder)
    return basis


def test_a_basis_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    basis = saved_basis(tmp_path)
    back = Basis.load(tmp_path)
    assert back.version == basis.version
    assert back.prompts.tobytes() == basis.prompts.tobytes()
    assert (back.words, back.norm_range, back.template) == (basis.words, basis.norm_range, basis.template)


def test_sizes_are_told() -> None:
    basis = random_basis(size=3)
    assert (basis.size, basis.feature_count, basis.dimensions) == (3, 4, 5)


def test_what_latents_depend_on_changes_the_version() -> None:
    basis = random_basis()
    changed = [
        replace(basis, prompts=basis.prompts + 1),
        replace(basis, center=basis.center + 0.1),
        replace(basis, crowd_direction=basis.crowd_direction + 0.1),
        replace(basis, scale=0.7),
        replace(basis, head=random_head(4, seed=1)),
        replace(basis, embedder=EmbedderName("tiny", "2")),
        with_components(basis),
        replace(basis, length=LengthScale(3.0, 0.6)),
        replace(basis, revision="1"),
        replace(basis, template=Template(request="Say something.")),
    ]
    assert len({basis.version, *(other.version for other in changed)}) == 1 + len(changed)


def test_what_people_read_does_not_change_the_version() -> None:
    basis = random_basis()
    assert replace(basis, built={"seconds": 3}, words=basis.words[::-1]).version == basis.version


@given(hnp.arrays(np.float64, (5, 4), elements=st.floats(-5_000, 0)), st.floats(0.1, 10))
def test_responsibilities_of_the_prompts_add_up_to_one(log_likelihoods: Doubles, temperature: float) -> None:
    np.testing.assert_allclose(responsibilities(log_likelihoods, temperature).sum(axis=1), 1)


def test_a_higher_temperature_spreads_responsibility() -> None:
    cold, hot = (responsibilities([-3.0, -5.0], temperature) for temperature in (1.0, 4.0))
    np.testing.assert_allclose(cold, [1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2))])
    assert hot.max() < cold.max()


def test_the_prompt_that_has_most_to_do_with_a_post_is_its_largest_feature() -> None:
    features = random_basis(size=3).prompt_features([[0.1, 0.8, 0.1], [1 / 3, 1 / 3, 1 / 3]], [20, 20])
    assert features[0, :3].argmax() == 1
    np.testing.assert_allclose(features[1, :3], 0, atol=1e-6)


def test_after_the_prompts_comes_the_length_in_half_deviations_and_bounded() -> None:
    basis = replace(random_basis(), length=LengthScale(center=np.log(11.0), spread=0.5))
    words = [10, round(11 * np.e**0.5) - 1, 0, 10**6]
    features = basis.prompt_features(np.full((4, 4), 0.25), words)
    np.testing.assert_allclose(features[:, -1], [0, 0.5, -2, 2], atol=0.01)


def with_components(basis: Basis) -> Basis:
    """With two, of which the first is a post's first direction."""
    components = Components(np.zeros(8, np.float32), np.eye(8, 2, dtype=np.float32))
    crowd = np.concatenate([basis.crowd_direction, np.zeros(2, np.float32)])
    return replace(basis, components=components, crowd_direction=crowd)


def test_components_of_the_embedding_come_last_and_leave_the_others_as_they_are() -> None:
    basis = with_components(random_basis())
    assert (basis.size, basis.text_size, basis.feature_count) == (4, 7, 7)
    features = basis.text_features(np.full(4, 0.25), 20, [0.3, -0.2, 1, 1, 1, 1, 1, 1])
    np.testing.assert_array_equal(features[:5], basis.prompt_features(np.full(4, 0.25), 20))
    np.testing.assert_allclose(features[5:], [0.3, -0.2], atol=1e-6)


def test_a_basis_with_components_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    basis = with_components(random_basis())
    basis.save(tmp_path)
    back = Basis.load(tmp_path)
    assert back.version == basis.version != random_basis().version
    assert back.components is not None
    assert back.components.size == 2


def test_a_basis_of_an_older_release_is_refused_in_so_many_words(tmp_path: Path) -> None:
    saved_basis(tmp_path)
    about = json.loads((tmp_path / "basis.json").read_text())
    (tmp_path / "basis.json").write_text(json.dumps(about | {"format": 2}))
    with pytest.raises(InvalidBasis, match=r"format 2, and this release reads 3: build one with 'make basis'"):
        Basis.load(tmp_path)


def test_what_written_posts_depend_on_is_not_changed_by_another_head() -> None:
    basis = random_basis()
    other = replace(basis, head=random_head(4, seed=1))
    assert other.prompts_version == basis.prompts_version
    assert other.text_version != basis.text_version
    assert replace(basis, prompts=basis.prompts + 1).prompts_version != basis.prompts_version


@given(st.lists(st.integers(0, 5_000), min_size=1, max_size=30))
def test_a_length_scale_has_mean_zero_over_its_own_posts(words: list[int]) -> None:
    features = LengthScale.of(words).features(words)
    assert features.shape == (len(words), 1)
    if len(set(words)) > 1 and np.abs(features).max() < 2:
        np.testing.assert_allclose([features.mean(), features.std()], [0, 0.5], atol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"center": np.zeros(5, np.float32)},
        {"crowd_direction": np.zeros(7, np.float32)},
        {"words": (("a",),)},
        {"head": random_head(5)},
        {"head": replace(random_head(4), mean=np.zeros(3, np.float32))},
        {"components": Components(np.zeros(8, np.float32), np.zeros((7, 2), np.float32))},
        {"prompts": np.zeros((4, 16), np.float32)},
    ],
)
def test_shapes_that_do_not_fit_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidBasis, match="shapes"):
        replace(random_basis(), **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"crowd_direction": np.full(5, np.nan, np.float32)},
        {"scale": 0.0},
        {"temperature": -1.0},
        {"scale": np.inf},
        {"head": replace(random_head(4), bias=np.full(4, np.nan, np.float32))},
        {"head": replace(random_head(4), spread=np.zeros_like(random_head(4).spread))},
        {"length": LengthScale(3.0, 0.0)},
        {"length": LengthScale(np.nan, 1.0)},
        {"prompts": np.full((4, 5, 16), np.inf, np.float32)},
    ],
)
def test_values_that_are_not_finite_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidBasis, match="not finite"):
        replace(random_basis(), **wrong)  # type: ignore[arg-type]


def test_a_missing_folder_says_how_to_build_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidBasis, match="make basis"):
        Basis.load(tmp_path / "nowhere")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    saved_basis(tmp_path)
    tensors = tmp_path / "basis.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-40])
    with pytest.raises(InvalidBasis, match="no usable basis"):
        Basis.load(tmp_path)


def test_tensors_of_another_basis_are_refused(tmp_path: Path) -> None:
    saved_basis(tmp_path)
    random_basis(seed=1).save(tmp_path / "other")
    (tmp_path / "other" / "basis.safetensors").rename(tmp_path / "basis.safetensors")
    with pytest.raises(InvalidBasis, match="the content is"):
        Basis.load(tmp_path)


def test_a_basis_without_a_scale_is_refused(tmp_path: Path) -> None:
    saved_basis(tmp_path)
    about = json.loads((tmp_path / "basis.json").read_text())
    del about["scale"]
    (tmp_path / "basis.json").write_text(json.dumps(about))
    with pytest.raises(InvalidBasis, match="scale"):
        Basis.load(tmp_path)
