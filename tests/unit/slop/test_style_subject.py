import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from slop.basis import InvalidBasis, Template
from slop.style_subject import StyleSubjectBasis
from tests.basis import random_basis, random_style_subject, spread_over, style_subject_for

OF_PROMPTS = spread_over([(None, 0), (None, 3), (1, None), (None, None)])


def test_style_subject_prompts_come_back_as_they_were_saved(tmp_path: Path) -> None:
    basis = random_style_subject()
    basis.save(tmp_path)
    back = StyleSubjectBasis.load(tmp_path)
    assert (back.version, back.size, back.rows) == (basis.version, (3, 4), 5)
    assert back.prompt(1, 2).tobytes() == basis.prompt(1, 2).tobytes()
    assert (back.style_words, back.subject_words) == (basis.style_words, basis.subject_words)
    assert (back.template, back.norm_range, back.built) == (basis.template, basis.norm_range, basis.built)


def test_a_prompt_is_the_rows_of_the_style_and_then_those_of_the_subject() -> None:
    basis = random_style_subject()
    prompt = basis.prompt(2, 1)
    assert prompt.shape == (5, 16)
    np.testing.assert_array_equal(prompt[:3], basis.styles[2])
    np.testing.assert_array_equal(prompt[3:], basis.subjects[1])


def test_all_pairs_are_in_the_order_of_styles_and_within_one_of_subjects() -> None:
    basis = random_style_subject()
    pairs = basis.pairs()
    assert pairs.shape == (12, 5, 16)
    for style in range(3):
        for subject in range(4):
            np.testing.assert_array_equal(pairs[style * 4 + subject], basis.prompt(style, subject))


def test_what_a_post_depends_on_changes_the_version_and_what_people_read_does_not() -> None:
    basis = random_style_subject()
    changed = [
        replace(basis, styles=basis.styles[::-1]),
        replace(basis, subjects=basis.subjects[::-1]),
        replace(basis, revision="1"),
        replace(basis, template=Template(request="Say something.")),
    ]
    assert len({basis.version, *(other.version for other in changed)}) == 5
    assert replace(basis, built={"seconds": 3}, style_words=basis.style_words[::-1]).version == basis.version


@pytest.mark.parametrize(
    ("styles", "subjects"), [((3, 3, 16), (4, 2, 15)), ((2, 3, 16), (4, 2, 16)), ((3, 48), (4, 2, 16))]
)
def test_shapes_that_do_not_fit_are_refused(styles: tuple[int, ...], subjects: tuple[int, ...]) -> None:
    with pytest.raises(InvalidBasis, match="shapes"):
        replace(random_style_subject(), styles=np.ones(styles, "f4"), subjects=np.ones(subjects, "f4"))


@pytest.mark.parametrize("factor", [np.nan, np.inf, 100.0, 0.0])
def test_rows_that_must_not_reach_the_engine_are_refused(factor: float) -> None:
    basis = random_style_subject()
    styles = basis.styles.copy()
    styles[1, 0] *= factor
    with pytest.raises(InvalidBasis, match="row norms"):
        replace(basis, styles=styles)


def test_a_folder_without_one_says_how_to_build_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidBasis, match="make style_subject"):
        StyleSubjectBasis.load(tmp_path)


def test_a_content_that_is_not_what_the_file_says_is_refused(tmp_path: Path) -> None:
    random_style_subject().save(tmp_path)
    file = tmp_path / "factored.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"revision": "another"}))
    with pytest.raises(InvalidBasis, match="says version"):
        StyleSubjectBasis.load(tmp_path)


def test_in_the_folder_of_its_basis_it_is_found(tmp_path: Path) -> None:
    basis = random_basis()
    assert StyleSubjectBasis.beside(tmp_path, basis) is None
    style_subject = style_subject_for(basis, OF_PROMPTS)
    style_subject.save(tmp_path)
    found = StyleSubjectBasis.beside(tmp_path, basis)
    assert found is not None
    assert found.version == style_subject.version


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"mixture": "0" * 12}, "goes with the basis '000000000000'"),
        ({"mixture": "", "of_prompts": None}, "goes with the basis ''"),
        ({"revision": "of another model"}, "goes with"),
        ({"of_prompts": OF_PROMPTS[:3]}, "4 prompts"),
        ({"of_prompts": None}, "4 prompts"),
    ],
)
def test_one_of_another_basis_is_not_used_and_the_log_says_so(
    tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    basis = random_basis()
    replace(style_subject_for(basis, OF_PROMPTS), **changed).save(tmp_path)
    with capture_logs() as logs:
        assert StyleSubjectBasis.beside(tmp_path, basis) is None
    (line,) = logs
    assert said in line["error"]


def test_a_broken_one_is_not_used_and_the_log_says_so(tmp_path: Path) -> None:
    basis = random_basis()
    style_subject_for(basis, OF_PROMPTS).save(tmp_path)
    (tmp_path / "factored.safetensors").write_bytes(b"broken")
    with capture_logs() as logs:
        assert StyleSubjectBasis.beside(tmp_path, basis) is None
    assert "no usable style × subject prompts" in logs[0]["error"]
