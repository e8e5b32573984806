"""Lua scripts in Redis, of which many calls are sent in one round trip.

redis-py's own Script objects are not used: they double the time that a call takes.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from redis import Redis
from redis import asyncio as aioredis
from redis.exceptions import NoScriptError


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a script: its keys, which must have the same hash tag, and its arguments."""

    keys: Sequence[str]
    arguments: Sequence[Any]

    def command(self, digest: str) -> list[Any]:
        """The command that makes the call of the script with this SHA-1."""
        return ["EVALSHA", digest, len(self.keys), *self.keys, *self.arguments]


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script. It must be idempotent: a repeated call changes nothing more."""

    text: str
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        """Compute the SHA-1 that Redis knows it by."""
        object.__setattr__(self, "digest", hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest())

    def run(self, redis: Redis, calls: Sequence[Call]) -> list[Any]:
        """The answers to calls, in their order, from one round trip; the script is loaded first if Redis lacks it.

        Raises:
            redis.exceptions.RedisError: Redis is away, or refuses a call. Some of the calls may have been made.
        """
        if not calls:
            return []
        try:
            return self._run_loaded(redis, calls)
        except NoScriptError:
            redis.script_load(self.text)
            return self._run_loaded(redis, calls)

    async def run_async(self, redis: aioredis.Redis, calls: Sequence[Call]) -> list[Any]:
        """`run`, for a client on an event loop."""
        if not calls:
            return []
        try:
            return await self._run_loaded_async(redis, calls)
        except NoScriptError:
            await redis.script_load(self.text)
            return await self._run_loaded_async(redis, calls)

    def _run_loaded(self, redis: Redis, calls: Sequence[Call]) -> list[Any]:
        pipe: Any = redis.pipeline(transaction=False)
        for call in calls:
            pipe.execute_command(*call.command(self.digest))
        return list(pipe.execute())

    async def _run_loaded_async(self, redis: aioredis.Redis, calls: Sequence[Call]) -> list[Any]:
        pipe: Any = redis.pipeline(transaction=False)
        for call in calls:
            pipe.execute_command(*call.command(self.digest))
        return list(await pipe.execute())
