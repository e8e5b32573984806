"""From a generate request to its posts, whole or streamed."""

import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from generation import metrics
from generation.contracts import GenerateRequest, GenerateResponse, PostDelta
from generation.engine import EngineClient
from generation.post_publishing import PostPublisher
from generation.prompt_picking import PickedPrompts, PostsOfPrompt, PromptPicker
from generation.reader_state import ReaderStates
from generation.request_limit import RequestLimit
from generation.tasks import gathered, merged
from slop.copies import KnownPosts


@dataclass(frozen=True, slots=True)
class CopyFilter:
    """Finds texts that are not served: empty ones, and near-copies of known posts.

    Attributes:
        known: the posts that must not be copied.
        rewrites: how often such a post is written again, before it is served all the same.
    """

    known: KnownPosts
    rewrites: int

    def again(self, written: Iterable[PostsOfPrompt], texts: Sequence[str]) -> Iterator[PostsOfPrompt]:
        """Of the posts that were written, those to be written again.

        Args:
            written: the posts, by their prompts. At temperature 0 the same texts would come again: these stay.
            texts: of all posts of the answer.
        """
        for some in written:
            posts = tuple(post for post in some.posts if self._is_refused(texts[post]))
            if posts and some.request.temperature > 0:
                yield PostsOfPrompt(replace(some.request, n=len(posts)), posts)

    def _is_refused(self, text: str) -> bool:
        return not text.strip() or self.known.are_copied_by(text)


class Writer:
    """Writes posts for readers."""

    def __init__(
        self,
        readers: ReaderStates,
        picker: PromptPicker,
        engine: EngineClient,
        limit: RequestLimit,
        post_publisher: PostPublisher,
        copies: CopyFilter,
    ) -> None:
        self._readers, self._picker, self._engine, self._limit = readers, picker, engine, limit
        self._post_publisher, self._copies = post_publisher, copies

    async def write(self, request: GenerateRequest) -> GenerateResponse:
        """All posts, once they are complete.

        Raises:
            Problem: the engine can't write them now, or refuses to.
        """
        with metrics.GENERATE_SECONDS.time():
            picked = await self._picked(request)
            async with self._limit.turn():
                texts = await self._written(picked.by_prompt, request.n)
            return await self._published(request, texts, picked)

    async def stream(self, request: GenerateRequest) -> AsyncGenerator[PostDelta | GenerateResponse, None]:
        """Pieces of posts as they are written, then the answer that `write` gives.

        Raises:
            Problem: as `write` does, at any point.
        """
        started = time.perf_counter()
        picked = await self._picked(request)
        texts = [""] * request.n
        pieces = merged([self._pieces(some) for some in picked.by_prompt])
        async with self._limit.turn(), aclosing(pieces):
            async for delta in pieces:
                if not any(texts):
                    metrics.FIRST_TOKEN_SECONDS.observe(time.perf_counter() - started)
                texts[delta.post] += delta.text
                yield delta
        metrics.GENERATE_SECONDS.observe(time.perf_counter() - started)
        yield await self._published(request, texts, picked)

    async def _picked(self, request: GenerateRequest) -> PickedPrompts:
        return self._picker.pick(request, await self._readers.state(request.user_id))

    async def _written(self, by_prompt: Sequence[PostsOfPrompt], posts: int) -> list[str]:
        """The texts of so many posts. What `copies` refuses is written again, as often as it allows."""
        texts, rewrites = [""] * posts, 0
        while by_prompt:
            written = await gathered(self._engine.complete(some.request) for some in by_prompt)
            for some, some_texts in zip(by_prompt, written, strict=True):
                for post, text in zip(some.posts, some_texts, strict=True):
                    texts[post] = text
            by_prompt = list(self._copies.again(by_prompt, texts)) if rewrites < self._copies.rewrites else []
            metrics.REWRITTEN.inc(sum(len(some.posts) for some in by_prompt))
            rewrites += 1
        return texts

    async def _pieces(self, some: PostsOfPrompt) -> AsyncGenerator[PostDelta, None]:
        async with aclosing(self._engine.stream(some.request)) as deltas:
            async for delta in deltas:
                yield PostDelta(post=some.posts[delta.index], text=delta.text)

    async def _published(self, request: GenerateRequest, texts: list[str], picked: PickedPrompts) -> GenerateResponse:
        metrics.POSTS.labels(picked.personalization.arm, picked.personalization.reason).inc(request.n)
        metrics.COMPOSED.inc(picked.composed)
        return await self._post_publisher.posts(request.user_id, texts, picked.personalization)
