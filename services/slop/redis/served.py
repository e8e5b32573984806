"""Which texts a reader was served and has seen lately, by their digests, so that none of them is served again.

Generation notes what it serves, and the featurizer what readers have reacted to or seen, whoever has written it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from redis import Redis
from redis import asyncio as aioredis

from slop.copies import WORDS_DIGEST_BYTES
from slop.redis.profiles import User, user_tag
from slop.redis.scripts import Call, Script

# KEYS: served or seen. ARGV: most bytes, expiry in s, then digests. Appends those digests that are not there yet, and
# drops the oldest ones beyond the most.
_ADD: Final = Script(f"""
local size = {WORDS_DIGEST_BYTES}
local texts, known = redis.call('GET', KEYS[1]) or '', {{}}
for at = 1, #texts, size do known[texts:sub(at, at + size - 1)] = true end
for i = 3, #ARGV do
  if not known[ARGV[i]] then
    texts, known[ARGV[i]] = texts .. ARGV[i], true
  end
end
redis.call('SET', KEYS[1], texts:sub(-tonumber(ARGV[1])), 'EX', ARGV[2])
return #texts
""")


def served_key(user: User) -> str:
    """The key of the texts that a reader was served: a string, WORDS_DIGEST_BYTES bytes of each, the latest last."""
    return f"slop:served:{user_tag(*user)}"


def seen_key(user: User) -> str:
    """The key of the texts that a reader has seen, in the format of `served_key`."""
    return f"slop:seen:{user_tag(*user)}"


@dataclass(frozen=True, slots=True)
class Remembered:
    """How much of a reader is remembered.

    Attributes:
        most: texts, the latest ones; 0: none.
        expiry_s: for how long after the last one, in seconds.
    """

    most: int
    expiry_s: int

    def call(self, key: str, digests: Sequence[bytes]) -> Call:
        """The call of _ADD that adds digests to what stands at a key."""
        return Call([key], [self.most * WORDS_DIGEST_BYTES, self.expiry_s, *digests])


@dataclass(frozen=True, slots=True)
class SeenTexts:
    """The texts that readers have seen.

    Attributes:
        redis: where they are.
        remembered: how much of a reader.
    """

    redis: Redis
    remembered: Remembered

    def add(self, digests: Mapping[User, Sequence[bytes]]) -> None:
        """Remember that readers have seen texts with these digests.

        Raises:
            redis.exceptions.RedisError: Redis does not answer.
        """
        if self.remembered.most:
            _ADD.run(self.redis, [self.remembered.call(seen_key(user), some) for user, some in digests.items()])


@dataclass(frozen=True, slots=True)
class ServedTexts:
    """The texts that readers were served. Every call may raise redis.exceptions.RedisError.

    Attributes:
        redis: where they are.
        remembered: how much of a reader.
    """

    redis: aioredis.Redis
    remembered: Remembered

    async def served_or_seen(self, user: User) -> frozenset[bytes]:
        """The digests of the texts that a reader was served or has seen."""
        found = cast("list[bytes | None]", await self.redis.mget(served_key(user), seen_key(user)))
        return frozenset(
            texts[at : at + WORDS_DIGEST_BYTES]
            for texts in found
            if texts is not None
            for at in range(0, len(texts), WORDS_DIGEST_BYTES)
        )

    async def add(self, user: User, digests: Sequence[bytes]) -> None:
        """Remember that a reader is served texts with these digests."""
        await _ADD.run_async(self.redis, [self.remembered.call(served_key(user), digests)])
