"""A model that comes in a package: used as the settings say, or converted once into a folder of the cache."""

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from infra.models.packages import package_folder
from infra.models.settings import ModelSettings


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """The default model for one purpose.

    Attributes:
        setting: the field of `ModelSettings` that names another model to use instead.
        title: its name, for people.
        name: of its folder in the cache.
        package: that has its files.
        files: their folder in the package; "." is the package's own.
        convert: `convert(source, target)` writes into the empty folder `target` what SLOP loads.
    """

    setting: Literal["model", "embedder"]
    title: str
    name: str
    package: str
    files: str
    convert: Callable[[Path, Path], None]

    def folder(self, cache: Path) -> Path:
        """Where it lies once it is converted."""
        return cache / "models" / self.name

    def is_prepared(self, settings: ModelSettings) -> bool:
        """Whether `prepare` returns at once."""
        return self._chosen(settings) is not None or self.folder(settings.cache_dir).is_dir()

    def prepare(self, settings: ModelSettings) -> str:
        """The folder or hub name of the model to use; converts the default one if that was not done before.

        Raises:
            infra.models.packages.MissingBinary: the package with the default model is not installed.
        """
        if (chosen := self._chosen(settings)) is not None:
            return chosen
        folder = self.folder(settings.cache_dir)
        if not folder.is_dir():
            convert_into(folder, package_folder(self.package) / self.files, self.convert)
        return str(folder)

    def main(self) -> None:
        """Prepare the model, and print its folder or hub name."""
        settings = ModelSettings()
        if not self.is_prepared(settings):
            sys.stderr.write(f"converting {self.title} once, about 20 s ...\n")
        sys.stdout.write(self.prepare(settings) + "\n")

    def _chosen(self, settings: ModelSettings) -> str | None:
        chosen: str | None = getattr(settings, self.setting)
        return chosen


def convert_into(folder: Path, source: Path, convert: Callable[[Path, Path], None]) -> None:
    """Fill `folder` by `convert(source, target)`, whole or not at all.

    Several processes may do so at the same time: each converts into a folder of its own, and the first one to end
    gives it the name.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        convert(source, unfinished)
        unfinished.chmod(0o755)
        with contextlib.suppress(OSError):  # another process was faster
            unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
