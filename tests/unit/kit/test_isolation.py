"""One bad item among many."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.isolation import isolated


class Away(Exception):  # noqa: N818
    """A server does not answer."""


def halves(numbers: Sequence[int]) -> list[float]:
    if any(number % 2 for number in numbers):
        raise ValueError("an odd one")
    return [number / 2 for number in numbers]


def blamed(number: int, error: Exception) -> list[float]:
    return [-number]


@given(st.lists(st.integers(0, 9)))
def test_every_item_has_its_result_in_order_whichever_of_them_fail(numbers: list[int]) -> None:
    assert isolated(halves, numbers, blamed) == [-n if n % 2 else n / 2 for n in numbers]


def test_items_are_worked_on_together_unless_one_fails() -> None:
    calls: list[list[int]] = []

    def work(numbers: Sequence[int]) -> list[float]:
        calls.append(list(numbers))
        return halves(numbers)

    isolated(work, [2, 4], blamed)
    assert calls == [[2, 4]]
    isolated(work, [2, 3], blamed)
    assert calls == [[2, 4], [2, 3], [2], [3]]


def test_an_item_may_leave_nothing_behind() -> None:
    assert isolated(lambda numbers: [n for n in numbers if n > 1], [1, 2], blamed) == [2]


def test_what_is_no_items_fault_is_raised_and_no_item_tried_again() -> None:
    calls = 0

    def work(_: Sequence[int]) -> list[float]:
        nonlocal calls
        calls += 1
        raise Away

    with pytest.raises(Away):
        isolated(work, [1, 2], blamed, but=(Away,))
    assert calls == 1
