"""A basis that its readers are learned anew under is another version of the same content."""

from pathlib import Path

import pytest

from slop.basis import RELEARNING_FILE, Basis, InvalidBasis
from slop.rollout.live import BasisRef
from tests.basis import random_basis


def test_a_relearning_is_another_version_of_the_same_content(tmp_path: Path) -> None:
    first = random_basis()
    first.save(tmp_path)
    (tmp_path / RELEARNING_FILE).write_text("1a2b\n")
    second = Basis.load(tmp_path)
    assert second.version == f"{first.version}.1a2b"
    assert (second.content_version, second.text_version) == (first.version, first.text_version)
    assert BasisRef.of(tmp_path).load().version == second.version


def test_what_is_saved_is_of_the_first_relearning(tmp_path: Path) -> None:
    basis = random_basis()
    basis.save(tmp_path)
    (tmp_path / RELEARNING_FILE).write_text("1a2b")
    Basis.load(tmp_path).save(tmp_path)
    assert Basis.load(tmp_path).version == basis.version


def test_a_relearning_without_a_valid_name_is_refused(tmp_path: Path) -> None:
    random_basis().save(tmp_path)
    (tmp_path / RELEARNING_FILE).write_text("../..")
    with pytest.raises(InvalidBasis, match="has no valid relearning"):
        Basis.load(tmp_path)
