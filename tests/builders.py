"""Small valid things for tests."""

from pathlib import Path

import numpy as np

from slop.basis import Basis
from slop.v1.signal_pb2 import Signal, Source

DAY_MS = 24 * 3600 * 1000
NOON_MS = 1_790_000_000_000


def small_basis(size: int = 6, rows: int = 3, width: int = 8, seed: int = 0) -> Basis:
    """A basis of K = `size` prompts of random rows."""
    rng = np.random.default_rng(seed)
    prompts = rng.normal(size=(size, rows, width)).astype(np.float16).astype(np.float32)
    norms = np.linalg.norm(prompts, axis=-1)
    return Basis(
        model="tiny",
        revision="0",
        prompts=prompts,
        center=np.full(size, 1 / size, np.float32),
        scale=0.5,
        temperature=2.0,
        crowd=rng.normal(size=size).astype(np.float32) / 10,
        words=tuple((f"word{k}",) for k in range(size)),
        norm_range=(float(norms.min()), float(norms.max())),
    )


def saved_basis(folder: Path, size: int = 6) -> Basis:
    """A basis, written to a folder."""
    basis = small_basis(size)
    basis.save(folder)
    return basis


def a_signal(
    basis: Basis,
    offset: int,
    *,
    user: str = "ann",
    event: str | None = None,
    at_ms: int | None = None,
    partition: int = 0,
    tenant: str = "default",
) -> Signal:
    """A signal whose features, label and weight follow from its source offset."""
    rng = np.random.default_rng((partition, offset))
    return Signal(
        event_id=f"{partition}-{offset}" if event is None else event,
        tenant=tenant,
        user_id=user,
        post_id=f"post{offset}",
        source=Source(partition=partition, offset=offset),
        received_at_ms=NOON_MS + offset if at_ms is None else at_ms,
        basis=basis.version,
        features=rng.normal(size=basis.size).tolist(),
        label=float(rng.integers(2)),
        weight=float(rng.uniform(0, 1.5)),
    )
