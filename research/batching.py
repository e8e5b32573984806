"""Calls that are made one at a time but done many at once."""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class Batcher(Generic[Asked, Answer]):
    """Does what is asked for within one turn of the event loop together, one batch after the other, in a thread."""

    def __init__(
        self,
        work: Callable[[Sequence[Asked]], Sequence[Answer]],
        most: int,
        size: Callable[[Asked], int] = lambda _: 1,
        kind: Callable[[Asked], Hashable] = lambda _: None,
    ) -> None:
        """Batches have at least one item, and no more of them than `most` allows.

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
        """The answer; what `work` raises, everybody in the batch is told."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, answer))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        while self._waiting:
            await asyncio.sleep(0)  # whoever is about to ask comes into this batch too
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
