"""From a request to its posts, whole or streamed."""

import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from generation import metrics
from generation.contracts import GenerateRequest, GenerateResponse, PostDelta
from generation.engine import Engine
from generation.post_publishing import PostPublisher
from generation.prompt_picking import Batch, PickedPrompts, PromptPicker
from generation.reader_state import ReaderStates
from generation.slots import Slots
from generation.tasks import gathered, merged
from slop.copies import KnownPosts


@dataclass(frozen=True, slots=True)
class CopyFilter:
    """What is not served: posts that nearly copy a known one, if writing them again up to `rewrites` times helps."""

    known: KnownPosts
    rewrites: int

    def again(self, batches: Iterable[Batch], texts: Sequence[str]) -> Iterator[Batch]:
        """What is to be written again of posts that were written; at temperature 0 it would come out the same."""
        for batch in batches:
            posts = tuple(post for post in batch.posts if self._is_refused(texts[post]))
            if posts and batch.order.temperature > 0:
                yield Batch(replace(batch.order, n=len(posts)), posts)

    def _is_refused(self, text: str) -> bool:
        return not text.strip() or self.known.are_copied_by(text)


class Writer:
    """Writes posts for readers."""

    def __init__(
        self,
        readers: ReaderStates,
        picker: PromptPicker,
        engine: Engine,
        slots: Slots,
        post_publisher: PostPublisher,
        copies: CopyFilter,
    ) -> None:
        self._readers, self._picker, self._engine, self._slots, self._post_publisher = (
            readers,
            picker,
            engine,
            slots,
            post_publisher,
        )
        self._copies = copies

    async def write(self, request: GenerateRequest) -> GenerateResponse:
        """All posts, once they are complete.

        Raises:
            Problem: the engine can't write them now, or refuses to.
        """
        with metrics.GENERATE_SECONDS.time():
            picked = await self._picked(request)
            async with self._slots.one():
                texts = await self._written(picked.batches, request.n)
            return await self._published(request, texts, picked)

    async def stream(self, request: GenerateRequest) -> AsyncGenerator[PostDelta | GenerateResponse, None]:
        """Pieces of posts as they are written, then the answer that `write` gives.

        Raises:
            Problem: as `write` does, at any point.
        """
        started = time.perf_counter()
        picked = await self._picked(request)
        texts = [""] * request.n
        pieces = merged([self._pieces(batch) for batch in picked.batches])
        async with self._slots.one(), aclosing(pieces):
            async for delta in pieces:
                if not any(texts):
                    metrics.FIRST_TOKEN_SECONDS.observe(time.perf_counter() - started)
                texts[delta.post] += delta.text
                yield delta
        metrics.GENERATE_SECONDS.observe(time.perf_counter() - started)
        yield await self._published(request, texts, picked)

    async def _picked(self, request: GenerateRequest) -> PickedPrompts:
        return self._picker.draw(request, await self._readers.state(request.user_id))

    async def _written(self, batches: Sequence[Batch], posts: int) -> list[str]:
        texts, rewrites = [""] * posts, 0
        while batches:
            written = await gathered(self._engine.complete(batch.order) for batch in batches)
            for batch, batch_texts in zip(batches, written, strict=True):
                for post, text in zip(batch.posts, batch_texts, strict=True):
                    texts[post] = text
            batches = list(self._copies.again(batches, texts)) if rewrites < self._copies.rewrites else []
            metrics.REWRITTEN.inc(sum(len(batch.posts) for batch in batches))
            rewrites += 1
        return texts

    async def _pieces(self, batch: Batch) -> AsyncGenerator[PostDelta, None]:
        async with aclosing(self._engine.stream(batch.order)) as deltas:
            async for delta in deltas:
                yield PostDelta(post=batch.posts[delta.index], text=delta.text)

    async def _published(self, request: GenerateRequest, texts: list[str], picked: PickedPrompts) -> GenerateResponse:
        metrics.POSTS.labels(picked.personalization.arm, picked.personalization.reason).inc(request.n)
        metrics.COMPOSED.inc(picked.composed)
        return await self._post_publisher.posts(request.user_id, texts, picked.personalization)
