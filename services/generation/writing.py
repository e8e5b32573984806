"""From a request to its posts, whole or streamed."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from generation import metrics
from generation.contracts import GenerateRequest, GenerateResponse, PostDelta
from generation.drawing import Batch, Drawer, Drawing
from generation.engine import Engine
from generation.minting import Mint
from generation.readers import Readers
from generation.slots import Slots
from generation.tasks import gathered, merged


class Writer:
    """Writes posts for readers."""

    def __init__(self, readers: Readers, drawer: Drawer, engine: Engine, slots: Slots, mint: Mint) -> None:
        self._readers, self._drawer, self._engine, self._slots, self._mint = readers, drawer, engine, slots, mint

    async def write(self, request: GenerateRequest) -> GenerateResponse:
        """All posts, once they are complete.

        Raises:
            Problem: the engine can't write them now, or refuses to.
        """
        with metrics.GENERATE_SECONDS.time():
            drawing = await self._drawing(request)
            async with self._slots.one():
                written = await gathered(self._engine.complete(batch.order) for batch in drawing.batches)
            texts = [""] * request.n
            for batch, batch_texts in zip(drawing.batches, written, strict=True):
                for post, text in zip(batch.posts, batch_texts, strict=True):
                    texts[post] = text
            return self._minted(request, texts, drawing)

    async def stream(self, request: GenerateRequest) -> AsyncGenerator[PostDelta | GenerateResponse, None]:
        """Pieces of posts as they are written, then the answer that `write` gives.

        Raises:
            Problem: as `write` does, at any point.
        """
        started = time.perf_counter()
        drawing = await self._drawing(request)
        texts = [""] * request.n
        pieces = merged([self._pieces(batch) for batch in drawing.batches])
        async with self._slots.one(), aclosing(pieces):
            async for delta in pieces:
                if not any(texts):
                    metrics.FIRST_TOKEN_SECONDS.observe(time.perf_counter() - started)
                texts[delta.post] += delta.text
                yield delta
        metrics.GENERATE_SECONDS.observe(time.perf_counter() - started)
        yield self._minted(request, texts, drawing)

    async def _drawing(self, request: GenerateRequest) -> Drawing:
        return self._drawer.draw(request, await self._readers.standing(request.user_id))

    async def _pieces(self, batch: Batch) -> AsyncGenerator[PostDelta, None]:
        async with aclosing(self._engine.stream(batch.order)) as deltas:
            async for delta in deltas:
                yield PostDelta(post=batch.posts[delta.index], text=delta.text)

    def _minted(self, request: GenerateRequest, texts: list[str], drawing: Drawing) -> GenerateResponse:
        metrics.POSTS.labels(drawing.personalization.arm, drawing.personalization.reason).inc(request.n)
        metrics.COMPOSED.inc(drawing.composed)
        return self._mint.posts(request.user_id, texts, drawing.personalization)
