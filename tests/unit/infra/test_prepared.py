"""What the native run converts once, the language model and the sentence embedder, and which of each is used."""

from pathlib import Path
from types import ModuleType

import pytest

from infra.local.settings import LocalSettings
from infra.models import embedder, model
from infra.models.packages import MissingBinary

either = pytest.mark.parametrize(("module", "setting"), [(model, "model"), (embedder, "embedder")])


@either
def test_what_is_chosen_is_used_as_it_is(module: ModuleType, setting: str, tmp_path: Path) -> None:
    settings = LocalSettings(_env_file=None, cache_dir=tmp_path, **{setting: "owner/name"})
    assert module.is_prepared(settings)
    assert module.prepare(settings) == "owner/name"
    assert not list(tmp_path.iterdir())


@either
def test_what_is_converted_is_not_converted_again(module: ModuleType, setting: str, tmp_path: Path) -> None:
    settings = LocalSettings(_env_file=None, cache_dir=tmp_path, **{setting: None})
    assert not module.is_prepared(settings)
    module.default_folder(tmp_path).mkdir(parents=True)
    assert module.is_prepared(settings)
    assert module.prepare(settings) == str(module.default_folder(tmp_path))


@either
def test_a_conversion_that_fails_leaves_nothing_behind(
    module: ModuleType, setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PACKAGE", "a_package_that_is_not_installed")
    settings = LocalSettings(_env_file=None, cache_dir=tmp_path, **{setting: None})
    with pytest.raises(MissingBinary, match="make setup"):
        module.prepare(settings)
    assert not module.is_prepared(settings)
    assert not list(module.default_folder(tmp_path).parent.glob("*"))
