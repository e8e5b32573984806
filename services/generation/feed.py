"""The next posts of a reader's feed: those written ahead first, and live ones where these are not enough."""

import asyncio
import time

import structlog
from redis.exceptions import RedisError

from generation import metrics
from generation.callers import Caller
from generation.contracts import FeedPost, FeedResponse
from generation.writing import Writer
from generation.writing_request import WritingRequest
from kit.problems import Problem
from slop.redis.feed_queue import FeedReader

log = structlog.stdlib.get_logger(__name__)


class Feed:
    """Gives out the posts of the feed. Redis may take `timeout_s` seconds."""

    def __init__(self, queues: FeedReader, timeout_s: float) -> None:
        self._queues, self._timeout_s = queues, timeout_s

    async def posts(self, user_id: str, n: int, writer: Writer, caller: Caller) -> FeedResponse:
        """The next n posts; fewer where some were written ahead and the engine can't write the others now.

        Raises:
            Problem: there is no post at all, and why.
        """
        started = time.perf_counter()
        posts = await self._written_ahead(user_id, n)
        source = "queue" if len(posts) == n else "live"
        if source == "live":
            posts += await self._live(
                WritingRequest(user_id, n=n - len(posts), candidates=None, caller=caller, is_fresh=True),
                writer,
                needed=not posts,
            )
        metrics.FEED_SECONDS.labels(source).observe(time.perf_counter() - started)
        return FeedResponse(posts=posts)

    async def _written_ahead(self, user_id: str, n: int) -> list[FeedPost]:
        """Posts of the reader's queue; none while Redis is away."""
        try:
            async with asyncio.timeout(self._timeout_s):
                taken = await self._queues.take(user_id, n)
        except (RedisError, OSError) as error:
            log.warning("feed_queue_unavailable", error=f"{type(error).__name__}: {error}")
            return []
        metrics.FEED_POSTS.labels("queue").inc(len(taken))
        return [FeedPost(post_id=post.post_id, text=post.text, arm=post.arm, pregenerated=True) for post in taken]

    async def _live(self, request: WritingRequest, writer: Writer, *, needed: bool) -> list[FeedPost]:
        """Posts written now; none while the engine can't write and they are not `needed`."""
        try:
            written = await writer.write(request)
        except Problem:
            if needed:
                raise
            return []
        metrics.FEED_POSTS.labels("live").inc(request.n)
        arm = written.personalization.arm
        return [
            FeedPost(post_id=post.post_id, text=post.text.strip(), arm=arm, pregenerated=False)
            for post in written.posts
            if post.text.strip()
        ]
