"""Which texts a reader was served lately, by their digests, so that none of them is served again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from redis import asyncio as aioredis

from slop.copies import WORDS_DIGEST_BYTES
from slop.redis.profiles import User, user_tag
from slop.redis.scripts import Call, Script

# KEYS: served. ARGV: most bytes, expiry in s, then digests. Appends those digests that are not there yet, and drops the
# oldest ones beyond the most.
_ADD: Final = Script(f"""
local size = {WORDS_DIGEST_BYTES}
local served, known = redis.call('GET', KEYS[1]) or '', {{}}
for at = 1, #served, size do known[served:sub(at, at + size - 1)] = true end
for i = 3, #ARGV do
  if not known[ARGV[i]] then
    served, known[ARGV[i]] = served .. ARGV[i], true
  end
end
redis.call('SET', KEYS[1], served:sub(-tonumber(ARGV[1])), 'EX', ARGV[2])
return #served
""")


def served_key(user: User) -> str:
    """The key of the texts that a reader was served: a string, WORDS_DIGEST_BYTES bytes of each, the latest last."""
    return f"slop:served:{user_tag(*user)}"


@dataclass(frozen=True, slots=True)
class ServedTexts:
    """The texts that readers were served. Every call may raise redis.exceptions.RedisError.

    Attributes:
        redis: where they are.
        most: how many of a reader are remembered, the latest ones.
        expiry_s: for how long after the last one, in seconds.
    """

    redis: aioredis.Redis
    most: int
    expiry_s: int

    async def of(self, user: User) -> frozenset[bytes]:
        """The digests of the texts that a reader was served."""
        served = cast("bytes | None", await self.redis.get(served_key(user))) or b""
        return frozenset(served[at : at + WORDS_DIGEST_BYTES] for at in range(0, len(served), WORDS_DIGEST_BYTES))

    async def add(self, user: User, digests: Sequence[bytes]) -> None:
        """A reader is served texts with these digests."""
        arguments: list[Any] = [self.most * WORDS_DIGEST_BYTES, self.expiry_s, *digests]
        await _ADD.run_async(self.redis, [Call([served_key(user)], arguments)])
