"""requirements/install: pip's settings hold for uv, which does not read them."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

INSTALL = Path(__file__).parents[3] / "requirements" / "install"
WHEEL = "slop_sample-1-py3-none-any.whl"


@pytest.fixture
def index(tmp_path: Path) -> str:
    """The URL of a package index that has one package."""
    folder = tmp_path / "index" / "slop-sample"
    folder.mkdir(parents=True)
    (folder / "index.html").write_text(f'<a href="{WHEEL}">{WHEEL}</a>')
    with zipfile.ZipFile(folder / WHEEL, "w") as wheel:
        wheel.writestr("slop_sample-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: slop-sample\nVersion: 1\n")
        kind = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        wheel.writestr("slop_sample-1.dist-info/WHEEL", kind)
        wheel.writestr("slop_sample-1.dist-info/RECORD", "")
    return folder.parent.as_uri()


def found(tmp_path: Path, **settings: str) -> bool:
    """Whether the package is found under these settings of pip and uv; by default, packages come from nowhere."""
    nowhere = (tmp_path / "nowhere").as_uri()
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    run = subprocess.run(
        [INSTALL, sys.executable, "--dry-run", "slop-sample"],
        env=env
        | {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": nowhere, "UV_CACHE_DIR": str(tmp_path / "cache")}
        | settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.returncode == 0) == ("slop-sample==1" in run.stderr), run.stderr
    return run.returncode == 0


def test_packages_come_from_where_pip_is_set_to_look(tmp_path: Path, index: str) -> None:
    assert not found(tmp_path)
    assert found(tmp_path, PIP_INDEX_URL=index)
    assert found(tmp_path, PIP_EXTRA_INDEX_URL=index)
    assert found(tmp_path, PIP_FIND_LINKS=f"{index}/slop-sample")


def test_uvs_own_settings_win(tmp_path: Path, index: str) -> None:
    assert found(tmp_path, UV_DEFAULT_INDEX=index)
    assert not found(tmp_path, PIP_INDEX_URL=index, UV_DEFAULT_INDEX=(tmp_path / "nowhere").as_uri())
