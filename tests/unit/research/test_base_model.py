from dataclasses import replace
from pathlib import Path

import pytest

from client.errors import UserError
from research.base_model import base_model
from tests.basis import random_basis
from tests.tiny_model import save_tiny_model
from training.language_model import revision_of


def test_a_study_uses_the_configured_model_and_no_basis_of_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_tiny_model(tmp_path)
    monkeypatch.setenv("SLOP_MODEL", str(tmp_path))
    own = replace(random_basis(), revision=revision_of(tmp_path))
    assert base_model(own) == tmp_path
    with pytest.raises(UserError, match="build it anew"):
        base_model(own, replace(own, revision="another"))
