"""From a request to its posts, whole or streamed."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, aclosing, contextmanager
from dataclasses import dataclass, replace
from typing import Final

import structlog

from generation import metrics
from generation.callers import CallerLimit
from generation.choosing import Chooser
from generation.completions import CompletedText, Usage
from generation.copy_filter import CopyFilter, HeldPost
from generation.deadline import DEADLINE, Deadline
from generation.engine_pool import Engine
from generation.post_publishing import PostPublisher
from generation.prompt_picking import PickedPrompts, PostsOfPrompt, PromptPicker
from generation.reader_state import ReaderStates
from generation.request_limit import RequestLimit
from generation.served import RecentlyServed
from generation.tasks import gathered, merged
from generation.upstreams import Upstreams
from generation.writing_request import PostPiece, WritingRequest, WrittenPosts
from kit.problems import Problem

EARLY_S: Final = 0.5  # so long before the deadline a rewriting is given up, and the draft is served

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WritingLimits:
    """How long a request may take, and how much may be written at a time.

    Attributes:
        deadline_s: from a request's arrival to its last token, seconds.
        publishing_s: of these, what is kept for storing the posts.
        turns: who may be at the engine.
        callers: what each reader, key and address may have in flight.
    """

    deadline_s: float
    publishing_s: float
    turns: RequestLimit
    callers: CallerLimit

    def deadline(self) -> Deadline:
        """Of a request that arrives now."""
        return Deadline(self.deadline_s, self.publishing_s)


class Writer:
    """Writes posts for readers."""

    def __init__(
        self,
        readers: ReaderStates,
        picker: PromptPicker,
        engine: Engine,
        limits: WritingLimits,
        post_publisher: PostPublisher,
        copies: CopyFilter,
        upstreams: Upstreams,
        served: RecentlyServed,
        chooser: Chooser,
    ) -> None:
        self._readers, self._picker, self._engine, self._limits = readers, picker, engine, limits
        self._post_publisher, self._copies, self._upstreams = post_publisher, copies, upstreams
        self._served, self._chooser = served, chooser

    async def write(self, request: WritingRequest) -> WrittenPosts:
        """All posts, once they are complete.

        Raises:
            Problem: the engine can't write them now or refuses to, it takes too long, or the caller asks for too much.
        """
        deadline = self._limits.deadline()
        with metrics.GENERATE_SECONDS.time(), _counted(), self._admitted(request):
            picked, copies = await self._prepared(request)
            texts, usage = await self._whole(request, picked, copies, deadline)
            return await self._published(request, texts, usage, picked)

    async def stream(self, request: WritingRequest) -> AsyncGenerator[PostPiece | WrittenPosts, None]:
        """Pieces of posts as they are written, then what `write` gives, but for `logprobs`, which the pieces have.

        Posts that are chosen among candidates come whole.

        Raises:
            Problem: as `write` does, at any point.
        """
        deadline, started = self._limits.deadline(), time.perf_counter()
        texts, usage, wrote = [CompletedText("")] * request.n, Usage(), False
        with _counted(), self._admitted(request):
            picked, copies = await self._prepared(request)
            pieces = self._pieces_of_all(request, picked, copies, deadline)
            async with aclosing(pieces):
                while (piece := await anext(pieces, None)) is not None:
                    if isinstance(piece, Usage):
                        usage += piece
                        continue
                    if not wrote:
                        metrics.FIRST_TOKEN_SECONDS.observe(time.perf_counter() - started)
                        wrote = True
                    before = texts[piece.post]
                    reason = piece.finish_reason or before.finish_reason
                    texts[piece.post] = CompletedText(before.text + piece.text, reason)
                    yield piece
            metrics.GENERATE_SECONDS.observe(time.perf_counter() - started)
            yield await self._published(request, texts, usage, picked)

    def _admitted(self, request: WritingRequest) -> AbstractContextManager[None]:
        # Before the reader's arm is known: no arm has more requests refused than another.
        texts = request.n * self._picker.candidates_of(request)
        tokens = texts * self._picker.max_tokens_of(request)
        return self._limits.callers.admitted(request.caller, request.user_id, tokens)

    async def _prepared(self, request: WritingRequest) -> tuple[PickedPrompts, CopyFilter]:
        """What the engine is asked for, and what it must not write."""
        state, not_again = await asyncio.gather(
            self._readers.state_to_write(request.user_id), self._served.not_again(request)
        )
        return self._picker.pick(request, state), replace(self._copies, not_again=not_again)

    def _engine_of(self, picked: PickedPrompts) -> Engine:
        return self._upstreams.clients.get(picked.personalization.arm, self._engine)

    def _turn(
        self, request: WritingRequest, picked: PickedPrompts, deadline: Deadline
    ) -> AbstractAsyncContextManager[None]:
        turns = self._upstreams.limits.get(picked.personalization.arm, self._limits.turns)
        return turns.turn(request.caller.source, request.user_id or "", deadline.left_s)

    async def _whole(
        self, request: WritingRequest, picked: PickedPrompts, copies: CopyFilter, deadline: Deadline
    ) -> tuple[list[CompletedText], Usage]:
        """The texts of a request, complete and chosen."""
        async with self._turn(request, picked, deadline):
            texts, usage = await self._written(self._engine_of(picked), picked.by_prompt, copies, deadline)
        chosen = await self._chooser.chosen(picked, texts, copies, deadline)
        return [chosen[post] for post in range(request.n)], usage

    async def _pieces_of_all(
        self, request: WritingRequest, picked: PickedPrompts, copies: CopyFilter, deadline: Deadline
    ) -> AsyncGenerator[PostPiece | Usage, None]:
        """Pieces of the posts of all prompts; posts that are chosen are one piece each."""
        if picked.candidates > 1:
            texts, usage = await self._whole(request, picked, copies, deadline)
            yield usage
            for post, one in enumerate(texts):
                yield PostPiece(post, one.text, one.finish_reason, one.logprobs)
            return
        engine = self._engine_of(picked)
        pieces = merged([self._pieces(engine, some, copies, deadline) for some in picked.by_prompt])
        async with self._turn(request, picked, deadline), aclosing(pieces):
            while (piece := await _next(pieces, deadline)) is not None:
                yield piece

    async def _written(
        self, engine: Engine, by_prompt: Sequence[PostsOfPrompt], copies: CopyFilter, deadline: Deadline
    ) -> tuple[dict[int, CompletedText], Usage]:
        """The texts of all posts, by their indices."""
        started = time.perf_counter()
        async with deadline.met():
            texts, usage = await _completed(engine, by_prompt)
        again, used = await self._rewritten(engine, by_prompt, texts, copies, time.perf_counter() - started, deadline)
        return texts | again, usage + used

    async def _rewritten(
        self,
        engine: Engine,
        by_prompt: Sequence[PostsOfPrompt],
        drafts: Mapping[int, CompletedText],
        copies: CopyFilter,
        took_s: float,
        deadline: Deadline,
    ) -> tuple[dict[int, CompletedText], Usage]:
        """Have drafts that are not to be served written again, as often as `copies` and the deadline allow.

        A draft is served all the same where time is short, or the engine fails meanwhile.

        Args:
            engine: what writes.
            by_prompt: what was asked for.
            drafts: what came.
            copies: what is not to be served.
            took_s: how long that took, seconds.
            deadline: of the request.

        Returns:
            The new texts, by their indices.
        """
        texts, usage = dict[int, CompletedText](), Usage()
        for _ in range(copies.rewrites):
            by_prompt = list(copies.again(by_prompt, {**drafts, **texts}))
            if not by_prompt or deadline.left_s < took_s + EARLY_S:
                break
            metrics.REWRITTEN.inc(sum(len(some.posts) for some in by_prompt))
            try:
                async with deadline.met(EARLY_S):
                    written, used = await _completed(engine, by_prompt)
            except Problem as problem:
                log.warning("draft_served", reason=problem.detail)
                break
            texts, usage = texts | written, usage + used
        return texts, usage

    async def _pieces(
        self, engine: Engine, some: PostsOfPrompt, copies: CopyFilter, deadline: Deadline
    ) -> AsyncGenerator[PostPiece | Usage, None]:
        """Pieces of the posts of one prompt. Posts that are not to be served are written again, and come whole."""
        held = {post: copies.held(post) for post in some.posts}
        drafts, ended, started = dict[int, CompletedText](), set[int](), time.perf_counter()
        async with aclosing(engine.stream(some.request)) as deltas:
            async for delta in deltas:
                if isinstance(delta, Usage):
                    yield delta
                    continue
                post = some.posts[delta.index]
                pieces = held[post].add(PostPiece(post, delta.text, delta.finish_reason, delta.logprobs))
                for piece in pieces:
                    yield piece
                if delta.finish_reason:
                    ended.add(post)
                    for piece in self._ended(held[post], drafts):
                        yield piece
        for post in held.keys() - ended:
            for piece in self._ended(held[post], drafts):
                yield piece
        if not drafts:
            return
        refused = PostsOfPrompt(replace(some.request, n=len(drafts)), tuple(drafts))
        again, used = await self._rewritten(engine, [refused], drafts, copies, time.perf_counter() - started, deadline)
        yield used
        for post in drafts:
            new = again.get(post)
            whole = [PostPiece(post, new.text, new.finish_reason, new.logprobs)] if new else held[post].end()
            for piece in whole:
                yield piece

    @staticmethod
    def _ended(post: HeldPost, drafts: dict[int, CompletedText]) -> list[PostPiece]:
        """What is left to send of a post that has ended; one that is not to be served goes to the drafts instead."""
        if (draft := post.draft) is None:
            return post.end()
        drafts[post.index] = draft
        return []

    async def _published(
        self, request: WritingRequest, texts: Sequence[CompletedText], usage: Usage, picked: PickedPrompts
    ) -> WrittenPosts:
        metrics.POSTS.labels(picked.personalization.arm, picked.personalization.reason).inc(request.n)
        metrics.COMPOSED.inc(picked.composed)
        posts, _ = await asyncio.gather(
            self._post_publisher.posts(request.user_id, texts, picked.personalization),
            self._served.add(request, [one.text for one in texts]),
        )
        return WrittenPosts(posts, usage, picked.personalization)


async def _completed(engine: Engine, by_prompt: Sequence[PostsOfPrompt]) -> tuple[dict[int, CompletedText], Usage]:
    written = await gathered(engine.complete(some.request) for some in by_prompt)
    texts = {
        post: text
        for some, completion in zip(by_prompt, written, strict=True)
        for post, text in zip(some.posts, completion.texts, strict=True)
    }
    return texts, sum((completion.usage for completion in written), Usage())


async def _next(pieces: AsyncGenerator[PostPiece | Usage, None], deadline: Deadline) -> PostPiece | Usage | None:
    """The next piece, if it comes in time; None at the end."""
    async with deadline.met():
        return await anext(pieces, None)


@contextmanager
def _counted() -> Iterator[None]:
    """Count a caller who leaves, and an answer that comes too late."""
    try:
        yield
    except (asyncio.CancelledError, GeneratorExit):
        metrics.CALLERS_GONE.inc()
        raise
    except Problem as problem:
        if problem.members.get("code") == DEADLINE:
            metrics.REFUSED.labels(metrics.Refusal.DEADLINE).inc()
        raise
