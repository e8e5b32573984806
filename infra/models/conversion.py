"""Converting what a package ships into a folder of the cache, once, whole or not at all."""

import contextlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def convert_into(folder: Path, source: Path, convert: Callable[[Path, Path], None]) -> None:
    """Fill `folder` by `convert(source, target)`; another process may do the same at the same time."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        convert(source, unfinished)
        unfinished.chmod(0o755)
        with contextlib.suppress(OSError):  # another process was faster
            unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
