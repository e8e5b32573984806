"""Calls made one at a time, done together."""

import asyncio
from collections.abc import Sequence

import pytest

from research.batching import Batcher


def doubled(batches: list[list[int]]) -> "Batcher[int, int]":
    def work(numbers: Sequence[int]) -> list[int]:
        batches.append(list(numbers))
        return [2 * number for number in numbers]

    return Batcher(work, most=10, size=lambda number: number, kind=lambda number: number % 2)


async def test_what_is_asked_for_at_once_is_done_together_and_everyone_gets_their_own_answer() -> None:
    batches: list[list[int]] = []
    batcher = doubled(batches)
    assert await asyncio.gather(*map(batcher, [2, 1, 4, 3, 6, 20])) == [4, 2, 8, 6, 12, 40]
    assert batches == [[2, 4], [1, 3], [6], [20]]


async def test_a_batcher_goes_on_after_it_was_done_with_everything() -> None:
    batcher = doubled([])
    assert await batcher(1) == 2
    assert await batcher(3) == 6


async def test_what_goes_wrong_is_told_to_everybody_in_the_batch_and_to_nobody_else() -> None:
    def work(numbers: Sequence[int]) -> list[int]:
        if 0 in numbers:
            raise ValueError("nothing")
        return list(numbers)

    batcher = Batcher(work, most=2)
    found = await asyncio.gather(*map(batcher, [0, 1, 2, 3]), return_exceptions=True)
    assert [str(one) for one in found] == ["nothing", "nothing", "2", "3"]
    with pytest.raises(ValueError, match="nothing"):
        await batcher(0)
