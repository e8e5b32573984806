"""Texts that a request must not write again: those the reader was served or saw lately, and those that it excludes."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import structlog
from redis.exceptions import RedisError

from generation import metrics
from generation.writing_request import WritingRequest
from slop.copies import words_digest
from slop.redis.posts import PostRef, read_texts_async
from slop.redis.profiles import User
from slop.redis.served import ServedTexts

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RecentlyServed:
    """Remembers what readers were served. Without Redis nothing is remembered, and texts are served all the same.

    Attributes:
        tenant: whose readers they are.
        texts: where it is remembered.
        timeout_s: how long Redis may take, seconds.
    """

    tenant: str
    texts: ServedTexts
    timeout_s: float

    async def not_again(self, request: WritingRequest) -> frozenset[bytes]:
        """The digests of the texts that a request must not write."""
        excluded = _digests(request.exclude_texts)
        if not request.is_fresh:
            return excluded
        try:
            async with asyncio.timeout(self.timeout_s):
                return excluded | await self._served_or_seen(request) | await self._excluded(request)
        except (RedisError, OSError) as error:
            metrics.SERVED_UNKNOWN.inc()
            log.warning("served_texts_unknown", error=f"{type(error).__name__}: {error}")
            return excluded

    async def add(self, request: WritingRequest, texts: Sequence[str]) -> None:
        """A request is answered with these texts."""
        digests = sorted(_digests(texts))
        if not (digests and request.is_fresh and request.user_id is not None and self.texts.remembered.most):
            return
        try:
            async with asyncio.timeout(self.timeout_s):
                await self.texts.add(User(self.tenant, request.user_id), digests)
        except (RedisError, OSError) as error:
            metrics.SERVED_UNKNOWN.inc()
            log.warning("served_texts_not_kept", error=f"{type(error).__name__}: {error}")

    async def _served_or_seen(self, request: WritingRequest) -> frozenset[bytes]:
        if request.user_id is None or not self.texts.remembered.most:
            return frozenset()
        return await self.texts.served_or_seen(User(self.tenant, request.user_id))

    async def _excluded(self, request: WritingRequest) -> frozenset[bytes]:
        refs = [PostRef(self.tenant, post_id) for post_id in request.exclude_posts]
        found = await read_texts_async(self.texts.redis, refs) if refs else []
        return _digests(text for text in found if text is not None)


def _digests(texts: Iterable[str]) -> frozenset[bytes]:
    return frozenset(digest for text in texts if (digest := words_digest(text)))
