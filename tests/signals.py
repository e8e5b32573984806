"""Valid signals, as the featurizer would send them."""

import numpy as np

from slop.basis import Basis
from slop.v1.signal_pb2 import Signal, Source

DAY_MS = 24 * 3600 * 1000
NOON_MS = 1_790_000_000_000


def a_signal(
    basis: Basis,
    offset: int,
    *,
    user: str = "ann",
    event: str | None = None,
    at_ms: int | None = None,
    partition: int = 0,
    epoch: int = 1,
    tenant: str = "default",
) -> Signal:
    """A signal that decides nothing, whose features, label and weight follow from its source offset."""
    rng = np.random.default_rng((partition, offset))
    return Signal(
        event_id=f"{partition}-{offset}" if event is None else event,
        tenant=tenant,
        user_id=user,
        post_id=f"post{offset}",
        source=Source(epoch=epoch, partition=partition, offset=offset),
        received_at_ms=NOON_MS + offset if at_ms is None else at_ms,
        basis=basis.version,
        features=rng.normal(size=basis.feature_count).tolist(),
        label=float(rng.integers(2)),
        weight=float(rng.uniform(0, 1.5)),
    )


def a_decision(
    basis: Basis,
    offset: int,
    label: float | None,
    *,
    decided: int,
    decision: int = 7,
    weight: float = 1.0,
    event: str | None = None,
    user: str = "ann",
    at_ms: int | None = None,
) -> Signal:
    """A signal that decides something of a post, whose features follow from the decision.

    Args:
        basis: of the features.
        offset: of its source.
        label: what is decided; None takes the decision back.
        decided: when, in milliseconds after noon.
        decision: on what.
        weight: of the label.
        event: its id; None: its own.
        user: whose it is.
        at_ms: when it was received.
    """
    signal = a_signal(basis, offset, user=user, event=event, at_ms=at_ms)
    features = np.random.default_rng(decision).normal(size=basis.feature_count) / np.sqrt(basis.feature_count)
    signal.features[:] = features.tolist()
    signal.label, signal.weight = (0.0, 0.0) if label is None else (label, weight)
    signal.decision, signal.decided_at_ms, signal.withdraws = decision, NOON_MS + decided, label is None
    return signal
