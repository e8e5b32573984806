import asyncio

import pytest

from generation.deadline import Deadline
from kit.problems import Problem


async def test_what_ends_in_time_is_not_touched() -> None:
    deadline = Deadline(60)
    async with deadline.met():
        await asyncio.sleep(0)
    assert 59 < deadline.left_s <= 60


async def test_what_takes_too_long_is_cancelled_and_told_as_503_with_a_retry_after() -> None:
    with pytest.raises(Problem) as raised:
        async with Deadline(0.02).met():
            await asyncio.sleep(60)
    assert (raised.value.status, raised.value.retry_after_s) == (503, 2)


async def test_what_is_spared_for_later_is_not_left_and_at_most_half_is_spared() -> None:
    assert Deadline(60, spare_s=20).left_s <= 40
    assert Deadline(1, spare_s=20).left_s > 0.4


async def test_a_block_may_have_to_end_earlier() -> None:
    async with asyncio.timeout(5):
        with pytest.raises(Problem):
            async with Deadline(60).met(early_s=59.98):
                await asyncio.sleep(60)


async def test_another_timeout_within_is_not_taken_for_the_deadline() -> None:
    with pytest.raises(TimeoutError):
        async with Deadline(60).met(), asyncio.timeout(0.01):
            await asyncio.sleep(60)


async def test_a_caller_who_leaves_is_not_told_of_a_deadline() -> None:
    async def wait() -> None:
        async with Deadline(60).met():
            await asyncio.sleep(60)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
