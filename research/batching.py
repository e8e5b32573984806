"""Calls that are made one at a time and answered in batches."""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class Batcher(Generic[Asked, Answer]):
    """Collects the calls of one turn of the event loop, and answers them in batches, in turn, in a thread."""

    def __init__(
        self,
        work: Callable[[Sequence[Asked]], Sequence[Answer]],
        most: int,
        size: Callable[[Asked], int] = lambda _: 1,
        kind: Callable[[Asked], Hashable] = lambda _: None,
    ) -> None:
        """The sizes of a batch's items sum up to at most `most`, unless it is a single item.

        Args:
            work: answers a batch, in its order.
            most: sum of the sizes in a batch.
            size: of an item.
            kind: only items of one kind go into a batch.
        """
        self._work, self._most, self._size, self._kind = work, most, size, kind
        self._waiting: deque[tuple[Asked, asyncio.Future[Answer]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def __call__(self, asked: Asked) -> Answer:
        """The answer for one item; an exception of `work` is raised for every item of the batch."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, answer))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        while self._waiting:
            await asyncio.sleep(0)  # so that calls of this turn come into the batch too
            batch = self._next()
            try:
                answers = await asyncio.to_thread(self._work, [asked for asked, _ in batch])
            except Exception as error:
                for _, answer in batch:
                    answer.set_exception(error)
            else:
                for (_, answer), value in zip(batch, answers, strict=True):
                    answer.set_result(value)

    def _next(self) -> list[tuple[Asked, asyncio.Future[Answer]]]:
        kind, batch = self._kind(self._waiting[0][0]), [self._waiting.popleft()]
        total = self._size(batch[0][0])
        left: deque[tuple[Asked, asyncio.Future[Answer]]] = deque()
        for item in self._waiting:
            if self._kind(item[0]) == kind and total + self._size(item[0]) <= self._most:
                total += self._size(item[0])
                batch.append(item)
            else:
                left.append(item)
        self._waiting = left
        return batch
