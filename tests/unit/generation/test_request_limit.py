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


class Queue:
    """Requests that wait for the turns of a limit, which are all taken at first."""

    def __init__(self, limit: RequestLimit) -> None:
        self.limit, self.served, self.refused = limit, list[str](), list[tuple[str, int]]()
        self.tasks = list[asyncio.Task[None]]()

    async def ask(self, name: str, source: str, reader: str = "") -> asyncio.Task[None]:
        async def wait() -> None:
            try:
                async with self.limit.turn(source, reader):
                    self.served.append(name)
                    await asyncio.sleep(0)
            except Problem as problem:
                self.refused.append((name, problem.status))

        task = asyncio.create_task(wait())
        self.tasks.append(task)
        await asyncio.sleep(0)
        return task


async def test_the_next_turn_goes_to_the_source_and_the_reader_with_the_fewest() -> None:
    queue = Queue(RequestLimit(4, 100, 5))
    async with queue.limit.turn("shop", "ada"):
        async with queue.limit.turn("shop", "ada"), queue.limit.turn("shop", "bob"), queue.limit.turn("app", "eve"):
            await queue.ask("ada", "shop", "ada")
            await queue.ask("bob", "shop", "bob")
            await queue.ask("eve", "app", "eve")
        await asyncio.gather(*queue.tasks)
    assert queue.served[0] == "eve"
    assert queue.served.index("bob") < queue.served.index("ada")


async def test_where_all_waiting_places_are_taken_one_source_can_not_keep_them_all() -> None:
    queue = Queue(RequestLimit(1, 4, 5))
    async with queue.limit.turn("flood"):
        for number in range(4):
            await queue.ask(f"flood-{number}", "flood", f"r{number}")
        await queue.ask("other-0", "other")
        await queue.ask("other-1", "other")
        await queue.ask("other-2", "other")
        await queue.ask("flood-4", "flood", "r4")
    await asyncio.gather(*queue.tasks)
    assert queue.refused == [("flood-3", 429), ("flood-2", 429), ("other-2", 503), ("flood-4", 503)]
    assert sorted(queue.served) == ["flood-0", "flood-1", "other-0", "other-1"]


async def test_nor_can_one_reader_of_a_source() -> None:
    queue = Queue(RequestLimit(1, 4, 5))
    async with queue.limit.turn("shop", "ada"):
        for number in range(4):
            await queue.ask(f"ada-{number}", "shop", "ada")
        await queue.ask("bob", "shop", "bob")
    await asyncio.gather(*queue.tasks)
    assert queue.refused == [("ada-3", 429)]
    assert "bob" in queue.served


async def test_who_gives_up_waiting_leaves_nothing_behind() -> None:
    queue = Queue(RequestLimit(1, 4, 5))
    async with queue.limit.turn("a"):
        waiting = await queue.ask("gone", "b")
        waiting.cancel()
        await asyncio.sleep(0)
        left = await queue.ask("left", "b")
    async with queue.limit.turn("c"):
        left.cancel()  # its turn came at the same moment
    await asyncio.gather(*queue.tasks, return_exceptions=True)
    async with asyncio.timeout(1), queue.limit.turn("d"):
        pass
    assert not queue.limit._turns_of_source


async def test_who_may_wait_less_is_refused_sooner() -> None:
    limit = RequestLimit(1, 4, 60)
    async with asyncio.timeout(5), limit.turn():
        with pytest.raises(Problem):
            async with limit.turn(wait_s=0.01):
                pass
