"""Written texts become posts: each gets an id, and is known before anybody can react to it."""

import asyncio
import time
import uuid
from collections.abc import Sequence

import structlog
from redis import asyncio as aioredis
from redis.exceptions import RedisError

from generation import metrics
from generation.completions import CompletedText
from generation.contracts import Personalization
from generation.variety import Variety
from generation.writing_request import WrittenPost
from slop.kafka.publisher import Publisher
from slop.kafka.records import ProducerRecord
from slop.kafka.topics import GENERATED, POSTS, encode, key_of
from slop.redis.posts import put_texts_async, ref_of, sent_text
from slop.v1.post_pb2 import Post

log = structlog.stdlib.get_logger(__name__)


class PostPublisher:
    """Makes and publishes the posts of one tenant."""

    def __init__(self, tenant: str, publisher: Publisher, redis: aioredis.Redis, timeout_s: float) -> None:
        """Redis may take `timeout_s` seconds to store the texts of one answer."""
        self._tenant, self._publisher, self._variety = tenant, publisher, Variety()
        self._redis, self._timeout_s = redis, timeout_s

    async def posts(
        self, user_id: str | None, texts: Sequence[CompletedText], personalization: Personalization
    ) -> tuple[WrittenPost, ...]:
        """Give each text an id, store and publish it. An empty text gets an id only."""
        posts = tuple(
            WrittenPost(GENERATED + uuid.uuid4().hex, one.text, one.finish_reason, one.logprobs) for one in texts
        )
        written = [self._post(user_id, post, personalization) for post in posts if post.text.strip()]
        self._variety.add(personalization.arm, (post.text for post in written))
        if written:
            await self._store(written)
            records = [ProducerRecord(POSTS, key_of(post), encode(post)) for post in written]
            self._publisher.publish_soon(records, metrics.UNPUBLISHED.inc)
        return posts

    async def _store(self, posts: Sequence[Post]) -> None:
        """Store the texts where the featurizer finds them; without Redis it reads them from Kafka, a moment later."""
        texts = [(ref_of(post), sent_text(post)) for post in posts]
        try:
            async with asyncio.timeout(self._timeout_s):
                await put_texts_async(self._redis, texts)
        except (RedisError, OSError) as error:
            metrics.UNSTORED.inc(len(posts))
            log.warning("posts_not_stored", error=f"{type(error).__name__}: {error}")

    def _post(self, user_id: str | None, post: WrittenPost, personalization: Personalization) -> Post:
        return Post(
            post_id=post.post_id,
            tenant=self._tenant,
            text=post.text.strip(),
            created_at_ms=time.time_ns() // 1_000_000,
            for_user_id=user_id or "",
            arm=personalization.arm,
            basis=personalization.basis,
            experiment=personalization.experiment or "",
        )
