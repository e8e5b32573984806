import asyncio

import pytest

from generation.slots import Slots
from kit.problems import Problem


async def test_no_more_than_the_size_hold_a_slot() -> None:
    slots, holders, most = Slots(3, 100, 5), 0, 0

    async def hold() -> None:
        nonlocal holders, most
        async with slots.one():
            holders += 1
            most = max(most, holders)
            await asyncio.sleep(0.001)
            holders -= 1

    await asyncio.gather(*(hold() for _ in range(20)))
    assert most == 3


async def test_who_waits_too_long_is_told_to_come_back() -> None:
    slots = Slots(1, 10, 0.02)
    async with slots.one():
        with pytest.raises(Problem) as raised:
            async with slots.one():
                pass
    assert (raised.value.status, raised.value.retry_after_s) == (503, 1)
    async with slots.one():  # and nothing is lost by the refusal
        pass


async def test_who_finds_too_many_waiting_is_refused_at_once() -> None:
    slots = Slots(1, 0, 60)
    async with slots.one():
        with pytest.raises(Problem):
            async with asyncio.timeout(1), slots.one():
                pass


async def test_a_cancelled_holder_frees_its_slot() -> None:
    slots = Slots(1, 10, 1)

    async def hold() -> None:
        async with slots.one():
            await asyncio.sleep(60)

    holder = asyncio.create_task(hold())
    await asyncio.sleep(0)
    holder.cancel()
    async with slots.one():
        pass
