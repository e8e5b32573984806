"""Checkpoints of a training that may be interrupted at any time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


def save_checkpoint(state: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint, whole or not at all; `torch.load(path, weights_only=True)` reads it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state), path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def kept_lessons(checkpoint: Path) -> Path:
    """The file in which a build keeps the state of fitting its head."""
    return checkpoint.with_suffix(".head.pt")
