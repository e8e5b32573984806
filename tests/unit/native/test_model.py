"""Which model is used."""

from pathlib import Path

import pytest

from native import model
from native.binaries import MissingBinary
from native.settings import NativeSettings


def test_a_chosen_model_is_used_as_it_is(tmp_path: Path) -> None:
    settings = NativeSettings(_env_file=None, model="owner/name", cache_dir=tmp_path)
    assert model.is_prepared(settings)
    assert model.prepare(settings) == "owner/name"
    assert not list(tmp_path.iterdir())


def test_a_converted_model_is_not_converted_again(tmp_path: Path) -> None:
    settings = NativeSettings(_env_file=None, model=None, cache_dir=tmp_path)
    assert not model.is_prepared(settings)
    model.default_folder(tmp_path).mkdir(parents=True)
    assert model.is_prepared(settings)
    assert model.prepare(settings) == str(model.default_folder(tmp_path))


def test_a_conversion_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "PACKAGE", "a_package_that_is_not_installed")
    settings = NativeSettings(_env_file=None, model=None, cache_dir=tmp_path)
    with pytest.raises(MissingBinary, match="make setup"):
        model.prepare(settings)
    assert not model.is_prepared(settings)
    assert not list(tmp_path.rglob("*smollm2*"))
