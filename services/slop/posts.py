"""Redis keys of posts: their texts and features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, cast
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
from redis import Redis
from redis import asyncio as aioredis

from slop.basis import Basis

Floats = npt.NDArray[np.float32]

POST_TTL_S: Final = 30 * 24 * 3600


class PostRef(NamedTuple):
    """Which post it is."""

    tenant: str
    post_id: str

    @property
    def key(self) -> str:
        """One string for both."""
        return f"{quote(self.tenant, safe='')}/{quote(self.post_id, safe='')}"


def post_key(text_version: str, post: PostRef) -> str:
    """A post's text and text features; bases that differ in their factors alone share them."""
    return f"slop:post:{text_version}:{post.key}"


@dataclass(frozen=True, slots=True)
class PostText:
    """A post's text and, of a generated post, the experiment arm that wrote it and the reader whom it was for."""

    text: str
    arm: str = ""
    for_user_id: str = ""

    def arm_for(self, user_id: str) -> str:
        """The arm that wrote it for this very user; empty if none did."""
        return self.arm if self.for_user_id == user_id else ""

    def adds_to(self, known: "PostText | None") -> bool:
        """Whether it says what is not known: another text, or an arm. A client that sends a text knows of no arm."""
        return known is None or self.text != known.text or (bool(self.arm) and self != known)


@dataclass(frozen=True, slots=True)
class StoredPost:
    """A post's text and its text features, (T,) float32."""

    text: PostText
    text_features: Floats


_TEXT_FIELDS: Final = ["text", "arm", "for_user_id"]
_POST_FIELDS: Final = [*_TEXT_FIELDS, "features"]


def _packed_text(post: PostText) -> dict[str, bytes]:
    """A text whose features are to come."""
    values = [post.text, post.arm, post.for_user_id, ""]
    return {name: value.encode() for name, value in zip(_POST_FIELDS, values, strict=True)}


def _packed(post: StoredPost) -> dict[str, bytes]:
    """Features and their text, without the arm, which may have become known while they were computed."""
    return {"text": post.text.text.encode(), "features": post.text_features.astype("<f4").tobytes()}


def _unpacked_text(fields: Sequence[bytes | None]) -> PostText | None:
    text, arm, for_user_id = fields
    return None if text is None else PostText(text.decode(), (arm or b"").decode(), (for_user_id or b"").decode())


def _unpacked(fields: Sequence[bytes | None], size: int) -> StoredPost | None:
    text, features = _unpacked_text(fields[:-1]), fields[-1]
    if text is None or features is None or len(features) != 4 * size:
        return None
    vector = np.frombuffer(features, dtype="<f4").astype(np.float32)
    return StoredPost(text, vector) if np.isfinite(vector).all() else None


class Posts:
    """The featurizer's view of posts: their texts, and their text features under one basis."""

    def __init__(self, redis: Redis, basis: Basis) -> None:
        """Posts with text features under `basis`."""
        self._redis, self._size = redis, basis.text_size
        self._text_version = basis.text_version

    def get(self, posts: Sequence[PostRef]) -> list[StoredPost | None]:
        """Posts in the order asked for; None for one that is not there, or has no features yet."""
        return [_unpacked(fields, self._size) for fields in self._fields(posts, _POST_FIELDS)]

    def texts(self, posts: Sequence[PostRef]) -> list[PostText | None]:
        """Texts in the order asked for; None for a post that is not there."""
        return [_unpacked_text(fields) for fields in self._fields(posts, _TEXT_FIELDS)]

    def put_texts(self, texts: Mapping[PostRef, PostText]) -> None:
        """Store texts, whose features are to come, for POST_TTL_S seconds; features of an older text are dropped."""
        self._put({ref: _packed_text(text) for ref, text in texts.items()})

    def put(self, posts: Mapping[PostRef, StoredPost]) -> None:
        """Store the features of texts for POST_TTL_S seconds; what is known of their arms stays."""
        self._put({ref: _packed(post) for ref, post in posts.items()})

    def _fields(self, posts: Sequence[PostRef], names: list[str]) -> list[list[bytes | None]]:
        pipe = self._redis.pipeline(transaction=False)
        for post in posts:
            pipe.hmget(post_key(self._text_version, post), names)
        return cast("list[list[bytes | None]]", pipe.execute())

    def _put(self, hashes: Mapping[PostRef, dict[str, bytes]]) -> None:
        pipe = self._redis.pipeline(transaction=False)
        for post, fields in hashes.items():
            key = post_key(self._text_version, post)
            pipe.hset(key, mapping=cast("dict[Any, Any]", fields))
            pipe.expire(key, POST_TTL_S)
        pipe.execute()


class RankedPosts:
    """Posts as generation reads them at request time, without blocking."""

    def __init__(self, redis: aioredis.Redis, basis: Basis, tenant: str) -> None:
        self._redis, self._basis, self._tenant = redis, basis, tenant
        self._text_version = basis.text_version

    async def features(self, post_ids: Sequence[str]) -> list[Floats | None]:
        """All features of posts, (F,) float32 each, in the order asked for; None for one that has none yet."""
        refs = [PostRef(self._tenant, post_id) for post_id in post_ids]
        pipe = self._redis.pipeline(transaction=False)
        for ref in refs:
            pipe.hmget(post_key(self._text_version, ref), _POST_FIELDS)
        posts = (_unpacked(fields, self._basis.text_size) for fields in await pipe.execute())
        return [
            None if post is None else self._basis.features(post.text_features, ref.key)
            for ref, post in zip(refs, posts, strict=True)
        ]
