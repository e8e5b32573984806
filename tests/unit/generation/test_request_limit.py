import asyncio

import pytest

from generation.request_limit import RequestLimit
from kit.problems import Problem


async def test_no_more_than_the_size_have_a_turn() -> None:
    limit, holders, most = RequestLimit(3, 100, 5), 0, 0

    async def hold() -> None:
        nonlocal holders, most
        async with limit.turn():
            holders += 1
            most = max(most, holders)
            await asyncio.sleep(0.001)
            holders -= 1

    await asyncio.gather(*(hold() for _ in range(20)))
    assert most == 3


async def test_who_waits_too_long_is_told_to_come_back() -> None:
    limit = RequestLimit(1, 10, 0.02)
    async with limit.turn():
        with pytest.raises(Problem) as raised:
            async with limit.turn():
                pass
    assert (raised.value.status, raised.value.retry_after_s) == (503, 1)
    async with limit.turn():  # and nothing is lost by the refusal
        pass


async def test_who_finds_too_many_waiting_is_refused_at_once() -> None:
    limit = RequestLimit(1, 0, 60)
    async with limit.turn():
        with pytest.raises(Problem):
            async with asyncio.timeout(1), limit.turn():
                pass


async def test_a_cancelled_holder_gives_its_turn_up() -> None:
    limit = RequestLimit(1, 10, 1)

    async def hold() -> None:
        async with limit.turn():
            await asyncio.sleep(60)

    holder = asyncio.create_task(hold())
    await asyncio.sleep(0)
    holder.cancel()
    async with limit.turn():
        pass
