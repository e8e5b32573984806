"""The folders of installed packages that carry models and servers."""

import importlib.util
from pathlib import Path


class MissingBinary(RuntimeError):  # noqa: N818
    """A server or a model that is not installed; the message says how to install it."""


def package_folder(package: str) -> Path:
    """The folder of an installed package, without importing it.

    Raises:
        MissingBinary: the package is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingBinary(f"the package {package} is not installed: run 'make setup'")
    return Path(spec.origin).parent
