"""From a request to its posts, whole or streamed."""

import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from generation import metrics
from generation.completions import CompletedText, Usage
from generation.engine import EngineClient
from generation.post_publishing import PostPublisher
from generation.prompt_picking import PickedPrompts, PostsOfPrompt, PromptPicker
from generation.reader_state import ReaderStates
from generation.request_limit import RequestLimit
from generation.tasks import gathered, merged
from generation.upstreams import Upstreams
from generation.writing_request import PostPiece, WritingRequest, WrittenPosts
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

    def again(self, written: Iterable[PostsOfPrompt], texts: Sequence[CompletedText]) -> Iterator[PostsOfPrompt]:
        """Of the posts that were written, those to be written again.

        Args:
            written: the posts, by their prompts. At temperature 0 the same texts would come again: these stay.
            texts: of all posts of the answer.
        """
        for some in written:
            posts = tuple(post for post in some.posts if self._is_refused(texts[post].text))
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
        upstreams: Upstreams,
    ) -> None:
        self._readers, self._picker, self._engine, self._limit = readers, picker, engine, limit
        self._post_publisher, self._copies, self._upstreams = post_publisher, copies, upstreams

    async def write(self, request: WritingRequest) -> WrittenPosts:
        """All posts, once they are complete.

        Raises:
            Problem: the engine can't write them now, or refuses to.
        """
        with metrics.GENERATE_SECONDS.time():
            picked = await self._picked(request)
            async with self._limit_of(picked).turn():
                texts, usage = await self._written(self._engine_of(picked), picked.by_prompt, request.n)
            return await self._published(request, texts, usage, picked)

    async def stream(self, request: WritingRequest) -> AsyncGenerator[PostPiece | WrittenPosts, None]:
        """Pieces of posts as they are written, then what `write` gives, but for `logprobs`, which the pieces have.

        Raises:
            Problem: as `write` does, at any point.
        """
        started = time.perf_counter()
        picked = await self._picked(request)
        texts, usage, wrote = [CompletedText("")] * request.n, Usage(), False
        pieces = merged([self._pieces(self._engine_of(picked), some) for some in picked.by_prompt])
        async with self._limit_of(picked).turn(), aclosing(pieces):
            async for piece in pieces:
                if isinstance(piece, Usage):
                    usage += piece
                    continue
                if not wrote:
                    metrics.FIRST_TOKEN_SECONDS.observe(time.perf_counter() - started)
                    wrote = True
                before = texts[piece.post]
                texts[piece.post] = CompletedText(before.text + piece.text, piece.finish_reason or before.finish_reason)
                yield piece
        metrics.GENERATE_SECONDS.observe(time.perf_counter() - started)
        yield await self._published(request, texts, usage, picked)

    async def _picked(self, request: WritingRequest) -> PickedPrompts:
        return self._picker.pick(request, await self._readers.state_to_write(request.user_id))

    def _engine_of(self, picked: PickedPrompts) -> EngineClient:
        return self._upstreams.clients.get(picked.personalization.arm, self._engine)

    def _limit_of(self, picked: PickedPrompts) -> RequestLimit:
        return self._upstreams.limits.get(picked.personalization.arm, self._limit)

    async def _written(
        self, engine: EngineClient, by_prompt: Sequence[PostsOfPrompt], posts: int
    ) -> tuple[list[CompletedText], Usage]:
        """The texts of so many posts. What `copies` refuses is written again, as often as it allows."""
        texts, usage, rewrites = [CompletedText("")] * posts, Usage(), 0
        while by_prompt:
            written = await gathered(engine.complete(some.request) for some in by_prompt)
            for some, completion in zip(by_prompt, written, strict=True):
                usage += completion.usage
                for post, text in zip(some.posts, completion.texts, strict=True):
                    texts[post] = text
            by_prompt = list(self._copies.again(by_prompt, texts)) if rewrites < self._copies.rewrites else []
            metrics.REWRITTEN.inc(sum(len(some.posts) for some in by_prompt))
            rewrites += 1
        return texts, usage

    async def _pieces(self, engine: EngineClient, some: PostsOfPrompt) -> AsyncGenerator[PostPiece | Usage, None]:
        async with aclosing(engine.stream(some.request)) as deltas:
            async for delta in deltas:
                if isinstance(delta, Usage):
                    yield delta
                else:
                    yield PostPiece(some.posts[delta.index], delta.text, delta.finish_reason, delta.logprobs)

    async def _published(
        self, request: WritingRequest, texts: Sequence[CompletedText], usage: Usage, picked: PickedPrompts
    ) -> WrittenPosts:
        metrics.POSTS.labels(picked.personalization.arm, picked.personalization.reason).inc(request.n)
        metrics.COMPOSED.inc(picked.composed)
        posts = await self._post_publisher.posts(request.user_id, texts, picked.personalization)
        return WrittenPosts(posts, usage, picked.personalization)
