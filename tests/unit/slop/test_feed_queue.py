"""What the posts of a queue were written under, and how far a reader has moved since."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from slop.redis.feed_queue import WrittenUnder

Shares = npt.NDArray[np.float32]


@st.composite
def shares(draw: st.DrawFn, size: int = 5) -> Shares:
    weights = draw(arrays(np.float32, size, elements=st.floats(0, 1, width=32)).filter(lambda w: w.sum() > 0.1))
    return (weights / weights.sum()).astype(np.float32)


@given(before=shares(), now=shares())
def test_the_distance_is_between_0_and_1_the_same_both_ways_and_0_to_itself(before: Shares, now: Shares) -> None:
    distance = WrittenUnder("b", before).distance("b", now)
    assert -1e-6 <= distance <= 1 + 1e-6
    assert distance == pytest.approx(WrittenUnder("b", now).distance("b", before))
    assert WrittenUnder("b", now).distance("b", now) == 0


@given(now=shares())
def test_another_basis_and_plain_posts_are_as_far_away_as_can_be(now: Shares) -> None:
    plain = np.zeros_like(now)
    assert WrittenUnder("a", now).distance("b", now) == 1
    assert WrittenUnder("a", plain).distance("a", now) == WrittenUnder("a", now).distance("a", plain) == 1
    assert WrittenUnder("a", plain).distance("a", plain) == 0
    assert WrittenUnder("a", now).distance("a", now[:-1]) == 1


def test_disjoint_tastes_are_at_distance_1_and_half_the_posts_at_a_half() -> None:
    garden, football = np.eye(2, dtype=np.float32)
    assert WrittenUnder("b", garden).distance("b", football) == 1
    assert WrittenUnder("b", garden).distance("b", (garden + football) / 2) == pytest.approx(0.5)


@given(basis=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20), now=shares())
def test_what_is_stored_is_read_back(basis: str, now: Shares) -> None:
    read = WrittenUnder.from_bytes(WrittenUnder(basis, now).to_bytes())
    assert read is not None
    assert read.basis == basis
    assert read.shares.tolist() == now.tolist()


@given(st.binary(max_size=64))
def test_anything_that_is_stored_can_be_read(data: bytes) -> None:
    read = WrittenUnder.from_bytes(data)
    assert read is None or read.distance("b", np.array([0.5, 0.5], np.float32)) >= 0 or np.isnan(read.shares).any()
