import numpy as np
import pytest

from slop.kafka.topics import encode
from slop.signals import SignalBatch
from slop.v1.signal_pb2 import Signal
from tests.basis import random_basis
from tests.signals import a_signal

BASIS = random_basis()


def batch_of(*values: bytes | None) -> SignalBatch:
    return SignalBatch.of(values, BASIS.version, BASIS.feature_count)


def changed(**fields: object) -> bytes:
    signal = a_signal(BASIS, 7)
    signal.MergeFrom(Signal(**fields))  # type: ignore[arg-type]
    return encode(signal)


def test_signals_keep_their_order_and_values() -> None:
    sent = [a_signal(BASIS, offset) for offset in (3, 1, 2)]
    batch = batch_of(*map(encode, sent))
    assert batch.signals == sent
    np.testing.assert_array_equal(batch.features, np.array([s.features for s in sent], np.float32))
    assert batch.labels.tolist() == [s.label for s in sent]
    assert batch.weights.tolist() == [s.weight for s in sent]
    assert (batch.rejected, batch.other_basis) == ((), 0)


def test_rows_stay_with_their_signals_when_one_between_is_refused() -> None:
    good = [a_signal(BASIS, 0), a_signal(BASIS, 1)]
    batch = batch_of(encode(good[0]), changed(weight=float("nan")), encode(good[1]))
    assert batch.signals == good
    np.testing.assert_array_equal(batch.features[1], np.array(good[1].features, np.float32))
    assert [(refused.index, refused.reason) for refused in batch.rejected] == [(1, "not_finite")]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "not_protobuf"),
        (b"", "not_protobuf"),
        (b"\xff\xff\xff", "not_protobuf"),
        (changed(features=[1.0]), "wrong_length"),
        (changed(label=float("inf")), "not_finite"),
        (changed(label=1.5), "not_finite"),
        (changed(weight=-1.0), "not_finite"),
        (changed(weight=1e9), "not_finite"),
    ],
)
def test_a_broken_record_is_refused_with_its_place_and_reason_and_others_are_not(
    value: bytes | None, reason: str
) -> None:
    batch = batch_of(encode(a_signal(BASIS, 1)), value, encode(a_signal(BASIS, 0)))
    assert len(batch.signals) == 2
    [refused] = batch.rejected
    assert (refused.index, refused.reason, bool(refused.detail)) == (1, reason, True)


@pytest.mark.parametrize("wild", [float("nan"), float("inf"), 1e30])
def test_a_wild_feature_is_refused(wild: float) -> None:
    signal = a_signal(BASIS, 0)
    signal.features[2] = wild
    batch = batch_of(encode(signal))
    assert (len(batch.signals), [refused.reason for refused in batch.rejected]) == (0, ["not_finite"])


def test_a_signal_without_a_source_is_refused() -> None:
    signal = a_signal(BASIS, 0)
    signal.ClearField("source")
    [refused] = batch_of(encode(signal)).rejected
    assert (refused.reason, refused.detail) == ("failed", "it has no source")


def test_signals_of_another_basis_are_counted_apart() -> None:
    batch = batch_of(changed(basis="another"))
    assert (len(batch.signals), batch.rejected, batch.other_basis) == (0, (), 1)


def test_an_empty_batch_has_the_right_shape() -> None:
    assert batch_of().features.shape == (0, BASIS.feature_count)
