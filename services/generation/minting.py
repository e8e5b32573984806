"""Written texts become posts: they get an id and are published, so that their features are ready before reactions."""

import time
import uuid
from collections.abc import Sequence

from generation import metrics
from generation.contracts import GeneratedPost, GenerateResponse, Personalization
from generation.variety import Variety
from slop.delivery import Record
from slop.publisher import Publisher
from slop.topics import GENERATED, POSTS, encode, key_of
from slop.v1.post_pb2 import Post


class Mint:
    """Mints posts of one tenant."""

    def __init__(self, tenant: str, publisher: Publisher) -> None:
        self._tenant, self._publisher, self._variety = tenant, publisher, Variety()

    def posts(self, user_id: str, texts: Sequence[str], personalization: Personalization) -> GenerateResponse:
        """Give each text an id, publish it, and answer."""
        posts = [GeneratedPost(post_id=GENERATED + uuid.uuid4().hex, text=text.strip()) for text in texts]
        written = [post for post in posts if post.text]
        records = [self._record(user_id, post, personalization) for post in written]
        self._variety.add(personalization.arm, (post.text for post in written))
        if records:
            self._publisher.publish_soon(records, metrics.UNPUBLISHED.inc)
        return GenerateResponse(posts=posts, personalization=personalization)

    def _record(self, user_id: str, post: GeneratedPost, personalization: Personalization) -> Record:
        record = Post(
            post_id=post.post_id,
            tenant=self._tenant,
            text=post.text,
            created_at_ms=time.time_ns() // 1_000_000,
            for_user_id=user_id,
            arm=personalization.arm,
            basis=personalization.basis,
        )
        return Record(POSTS, key_of(record), encode(record))
