"""What the local run converts once, the base model and the sentence embedder, and which of each is used."""

from dataclasses import replace
from pathlib import Path

import pytest

from infra.local.settings import LocalSettings
from infra.models.conversion import PackagedModel
from infra.models.embedder import EMBEDDER
from infra.models.model import BASE_MODEL
from infra.models.packages import MissingBinary

either = pytest.mark.parametrize("packaged", [BASE_MODEL, EMBEDDER])


@either
def test_what_is_chosen_is_used_as_it_is(packaged: PackagedModel, tmp_path: Path) -> None:
    settings = LocalSettings(_env_file=None, cache_dir=tmp_path, **{packaged.setting: "owner/name"})
    assert packaged.is_prepared(settings)
    assert packaged.prepare(settings) == "owner/name"
    assert not list(tmp_path.iterdir())


@either
def test_what_is_converted_is_not_converted_again(packaged: PackagedModel, tmp_path: Path) -> None:
    settings = LocalSettings(_env_file=None, cache_dir=tmp_path, **{packaged.setting: None})
    assert not packaged.is_prepared(settings)
    packaged.folder(tmp_path).mkdir(parents=True)
    assert packaged.is_prepared(settings)
    assert packaged.prepare(settings) == str(packaged.folder(tmp_path))


@either
def test_a_conversion_that_fails_leaves_nothing_behind(packaged: PackagedModel, tmp_path: Path) -> None:
    missing = replace(packaged, package="a_package_that_is_not_installed")
    settings = LocalSettings(_env_file=None, cache_dir=tmp_path, **{packaged.setting: None})
    with pytest.raises(MissingBinary, match="make setup"):
        missing.prepare(settings)
    assert not missing.is_prepared(settings)
    assert not list(missing.folder(tmp_path).parent.glob("*"))


def test_a_conversion_that_breaks_off_leaves_nothing_behind(tmp_path: Path) -> None:
    def broken(_: Path, target: Path) -> None:
        (target / "half").touch()
        raise OSError("no space left")

    packaged = replace(BASE_MODEL, package="client", convert=broken)
    settings = LocalSettings(_env_file=None, cache_dir=tmp_path, model=None)
    with pytest.raises(OSError, match="no space"):
        packaged.prepare(settings)
    assert not list(packaged.folder(tmp_path).parent.iterdir())
