import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from generation.tasks import gathered, merged


class Count:
    """A source that counts, and knows whether it was ended."""

    def __init__(self, end: int, error: Exception | None = None) -> None:
        self._end, self._error = end, error
        self.ended = False

    async def items(self) -> AsyncGenerator[int, None]:
        try:
            for number in range(self._end):
                await asyncio.sleep(0)
                yield number
            if self._error:
                raise self._error
        finally:
            self.ended = True


async def test_merged_gives_every_item_of_every_source() -> None:
    sources = [Count(100), Count(0), Count(7)]
    items = [item async for item in merged([source.items() for source in sources])]
    assert sorted(items) == sorted([*range(100), *range(7)])


async def test_the_first_failure_ends_all_sources() -> None:
    failing, endless = Count(3, ValueError("broken")), Count(10**9)
    with pytest.raises(ValueError, match="broken"):
        async for _ in merged([failing.items(), endless.items()]):
            pass
    await asyncio.sleep(0.01)
    assert endless.ended


async def test_closing_ends_all_sources_even_if_nobody_takes_their_items() -> None:
    sources = [Count(10**9), Count(10**9)]
    async with aclosing(merged([source.items() for source in sources])) as items:
        await anext(items)
        await asyncio.sleep(0.01)  # both sources now wait for room
    await asyncio.sleep(0.01)
    assert all(source.ended for source in sources)


async def test_gathered_keeps_the_order() -> None:
    async def later(number: int) -> int:
        await asyncio.sleep(0.01 / (number + 1))
        return number

    assert await gathered(later(n) for n in range(5)) == list(range(5))


async def test_a_failure_cancels_what_is_still_running() -> None:
    cancelled = asyncio.Event()

    async def endless() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await gathered([endless(), fail()])
    await asyncio.wait_for(cancelled.wait(), 1)
