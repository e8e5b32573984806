"""Posts in Redis: their texts, which all bases share, and their text features under each text version.

A post expires POST_TTL_S seconds after its last use. An expired post is treated as an unknown one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final, NamedTuple, Self
from urllib.parse import quote, unquote

import numpy as np
import numpy.typing as npt
from redis import Redis
from redis import asyncio as aioredis

from slop.basis import Basis
from slop.redis.profiles import delete_keys
from slop.redis.scripts import Call, Script
from slop.v1.post_pb2 import Post

Floats = npt.NDArray[np.float32]

DAY_S: Final = 24 * 3600
POST_TTL_S: Final = 30 * DAY_S
# In seconds: a use sets the time to live to the first if it is below the second, that is, at most once a day.
_EXPIRY: Final = (POST_TTL_S, POST_TTL_S - DAY_S)
DIGEST_BYTES: Final = 16

# KEYS: text, parked. ARGV: text, arm, for_user_id, experiment, digest, time in ms, expiry in s, '1' if it may change a
# known text.
# Returns 1 if the post has another text now than before, else 0; and 1 if interactions are parked under it, else 0.
_PUT_TEXT: Final = Script("""
local known, new = redis.call('HMGET', KEYS[1], 'digest', 'at_ms', 'arm'), 0
local later = tonumber(ARGV[6]) - tonumber(known[2] or '-1')
local function written()
  redis.call('HSET', KEYS[1], 'arm', ARGV[2], 'for_user_id', ARGV[3])
  if ARGV[4] ~= '' then
    redis.call('HSET', KEYS[1], 'experiment', ARGV[4])
  else
    redis.call('HDEL', KEYS[1], 'experiment')
  end
end
if not known[1] or (ARGV[8] == '1' and known[1] ~= ARGV[5] and later >= 0) then
  redis.call('HSET', KEYS[1], 'text', ARGV[1], 'digest', ARGV[5], 'at_ms', ARGV[6])
  written()
  redis.call('EXPIRE', KEYS[1], ARGV[7])
  new = 1
elseif ARGV[8] == '1' and known[1] == ARGV[5] then
  if ARGV[2] ~= '' and (known[3] or '') == '' then written() end
  if later > 0 then
    redis.call('HSET', KEYS[1], 'at_ms', ARGV[6])
    redis.call('EXPIRE', KEYS[1], ARGV[7])
  end
end
return {new, redis.call('EXISTS', KEYS[2])}
""")

# KEYS: text, features. ARGV: _EXPIRY. Returns false for an unknown post, else the text, its arm, its reader, its
# experiment, and its features or false. It also works on a Redis that refuses writes, where nothing is renewed.
_FIND: Final = Script("""
local post = redis.call('HMGET', KEYS[1], 'text', 'arm', 'for_user_id', 'experiment', 'digest')
if not post[1] then return false end
local function used(key)
  if redis.call('TTL', key) < tonumber(ARGV[2]) then redis.pcall('EXPIRE', key, ARGV[1]) end
end
local features = redis.call('GET', KEYS[2])
used(KEYS[1])
if features and post[5] and features:sub(1, #post[5]) == post[5] then
  used(KEYS[2])
  return {post[1], post[2], post[3], post[4], features:sub(#post[5] + 1)}
end
return {post[1], post[2], post[3], post[4], false}
""")


def text_digest(text: str) -> bytes:
    """The digest of a text, DIGEST_BYTES bytes, by which features are matched with the text that they are of."""
    return blake2b(text.encode(), digest_size=DIGEST_BYTES).digest()


@lru_cache(maxsize=65_536)
def _key(names: tuple[str, str]) -> str:
    return "/".join(quote(name, safe="") for name in names)


class PostRef(NamedTuple):
    """A post: tenant and `post_id`."""

    tenant: str
    post_id: str

    @property
    def key(self) -> str:
        """Tenant and `post_id` as one string, percent-encoded."""
        return _key(self)

    @classmethod
    def of_key(cls, key: str) -> Self:
        """The post that has this key."""
        tenant, _, post_id = key.partition("/")
        return cls(unquote(tenant), unquote(post_id))


def text_key(post: PostRef) -> str:
    """The key of a post's text: a hash, with the arm and the reader of a generated post."""
    return f"slop:text:{{{post.key}}}"


def features_key(text_version: str, post: PostRef) -> str:
    """The key of a post's text features: a string, the digest of the text that they are of, then (T,) float32."""
    return f"slop:features:{text_version}:{{{post.key}}}"


def parked_key(post: PostRef) -> str:
    """The key of the interactions that are parked under a post (see `slop.redis.parking`)."""
    return f"slop:parked:{{{post.key}}}"


@dataclass(frozen=True, slots=True)
class PostText:
    """The text of a post, and of a generated post its reader, arm and experiment.

    Attributes:
        text: the text.
        arm: that it was written in; possibly one that only another release knows.
        for_user_id: the reader that it is for.
        experiment: that had assigned the arm; empty outside of any.
    """

    text: str
    arm: str = ""
    for_user_id: str = ""
    experiment: str = ""

    def arm_for(self, user_id: str) -> str:
        """The arm in which it was written for this reader; empty if it was not written for this reader."""
        return self.arm if self.for_user_id == user_id else ""

    def experiment_for(self, user_id: str) -> str:
        """The experiment that had assigned that arm; empty if none did, or if there is no such arm."""
        return self.experiment if self.arm_for(user_id) else ""


class Origin(StrEnum):
    """Where a text comes from, which decides whether it may change a known text."""

    POST = "post"  # from slop.posts.v1 or from generation: it replaces a known text that is not newer
    COPY = "copy"  # sent by a client with an interaction: it is stored only if the post has no text


@dataclass(frozen=True, slots=True)
class SentText:
    """A text to store for a post.

    Attributes:
        text: with arm and reader.
        at_ms: when the post was written or changed, in milliseconds since the Unix epoch. The latest text holds.
        origin: where it comes from.
    """

    text: PostText
    at_ms: int = 0
    origin: Origin = Origin.COPY

    def call(self, post: PostRef) -> Call:
        """The call of _PUT_TEXT that stores it."""
        text, is_post = self.text, self.origin is Origin.POST
        at_ms = max(0, self.at_ms) if is_post else -1  # earlier than that of any text of the origin POST
        digest = text_digest(text.text)
        arguments = [text.text, text.arm, text.for_user_id, text.experiment, digest, at_ms, POST_TTL_S, int(is_post)]
        return Call([text_key(post), parked_key(post)], arguments)


class StoredText(NamedTuple):
    """What became of a text that was to be stored.

    Attributes:
        new: whether the post has this text now, and had another one or none before.
        awaited: whether interactions are parked under the post.
    """

    new: bool
    awaited: bool


@dataclass(frozen=True, slots=True)
class FoundPost:
    """The text of a post, and the text features of this text, (T,) float32; None if they are not computed yet."""

    text: PostText
    text_features: Floats | None = None


class Posts:
    """The posts, with text features of one version, as the featurizer reads and writes them."""

    def __init__(self, redis: Redis, basis: Basis) -> None:
        """Posts with text features of the version of `basis`. Every call may raise redis.exceptions.RedisError."""
        self._redis, self._size, self._text_version = redis, basis.text_size, basis.text_version

    def find(self, posts: Sequence[PostRef]) -> dict[PostRef, FoundPost]:
        """Those of the posts that have a text, in one round trip. This counts as a use."""
        answers = _FIND.run(self._redis, [_find_call(self._text_version, post) for post in posts])
        found = ((post, _found(answer, self._size)) for post, answer in zip(posts, answers, strict=True))
        return {post: at for post, at in found if at is not None}

    def put_texts(self, texts: Sequence[tuple[PostRef, SentText]]) -> list[StoredText]:
        """Store texts, in this order and in one round trip; returns what became of each."""
        answers = _PUT_TEXT.run(self._redis, [text.call(post) for post, text in texts])
        return [StoredText(bool(new), bool(awaited)) for new, awaited in answers]

    def put_features(self, features: Mapping[PostRef, FoundPost]) -> None:
        """Store the text features of posts. If a post has another text meanwhile, `find` does not return them."""
        pipe = self._redis.pipeline(transaction=False)
        for post, found in features.items():
            if found.text_features is not None:
                packed = text_digest(found.text.text) + found.text_features.astype("<f4").tobytes()
                pipe.set(features_key(self._text_version, post), packed, ex=POST_TTL_S)
        pipe.execute()


class RankedPosts:
    """Reads features of one tenant's posts on an event loop, for the requests of generation."""

    def __init__(self, redis: aioredis.Redis, basis: Basis, tenant: str) -> None:
        """Every call may raise redis.exceptions.RedisError."""
        self._redis, self._basis, self.tenant = redis, basis, tenant

    async def features(self, post_ids: Sequence[str]) -> list[Floats | str | None]:
        """What is known of posts, in their order. This counts as a use.

        Returns:
            for each post its features, (F,) float32; its text if they are not computed yet; None for an unknown post.
        """
        refs = [PostRef(self.tenant, post_id) for post_id in post_ids]
        calls = [_find_call(self._basis.text_version, post) for post in refs]
        answers = await _FIND.run_async(self._redis, calls)
        return [self._features(post, answer) for post, answer in zip(refs, answers, strict=True)]

    def _features(self, post: PostRef, answer: Any) -> Floats | str | None:
        found = _found(answer, self._basis.text_size)
        if found is None:
            return None
        if found.text_features is None:
            return found.text.text
        return self._basis.features(found.text_features, post.key)


async def put_texts_async(redis: aioredis.Redis, texts: Sequence[tuple[PostRef, SentText]]) -> None:
    """Store texts as `Posts.put_texts` does, by a client on an event loop."""
    await _PUT_TEXT.run_async(redis, [text.call(post) for post, text in texts])


async def read_texts_async(redis: aioredis.Redis, posts: Sequence[PostRef]) -> list[str | None]:
    """The texts of posts, in their order, in one round trip; None for one that has none. This does not count as a use.

    Raises:
        redis.exceptions.RedisError: Redis does not answer.
    """
    pipe = redis.pipeline(transaction=False)
    for post in posts:
        pipe.hget(text_key(post), "text")
    texts: list[bytes | None] = await pipe.execute()
    return [None if text is None else text.decode(errors="replace") for text in texts]


def ref_of(post: Post) -> PostRef:
    """The tenant and `post_id` of a post."""
    return PostRef(post.tenant, post.post_id)


def sent_text(post: Post) -> SentText:
    """The text of a post, to be stored."""
    text = PostText(post.text, post.arm, post.for_user_id, post.experiment)
    return SentText(text, post.created_at_ms, Origin.POST)


def delete_features(redis: Redis, text_version: str, batch: int = 1_000) -> Iterator[int]:
    """Delete all text features of a version; yields the number of deleted keys, about `batch` at a time."""
    return delete_keys(redis, f"slop:features:{text_version}:*", batch)


def _find_call(text_version: str, post: PostRef) -> Call:
    return Call([text_key(post), features_key(text_version, post)], _EXPIRY)


def _found(answer: "Sequence[bytes | None] | None", size: int) -> FoundPost | None:
    if answer is None:
        return None
    *written, features = answer
    known = PostText(*((value or b"").decode(errors="replace") for value in written))
    if features is None or len(features) != 4 * size:
        return FoundPost(known)
    vector = np.frombuffer(features, dtype="<f4").astype(np.float32)
    return FoundPost(known, vector if np.isfinite(vector).all() else None)
