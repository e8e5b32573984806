"""Lua scripts of Redis, run once for each of many keys in one round trip.

Not redis-py's Script objects: they cost as much again for every call.
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
    """One call of a script: its keys, which share a hash tag, and its arguments."""

    keys: Sequence[str]
    arguments: Sequence[Any]

    def command(self, digest: str) -> list[Any]:
        """As Redis takes it."""
        return ["EVALSHA", digest, len(self.keys), *self.keys, *self.arguments]


@dataclass(frozen=True, slots=True)
class Script:
    """A script that may be called again with the same arguments without harm."""

    text: str
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        """Know its name in Redis."""
        object.__setattr__(self, "digest", hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest())

    def run(self, redis: Redis, calls: Sequence[Call]) -> list[Any]:
        """The answers to all calls, in one round trip; the script is loaded where Redis does not know it.

        Raises:
            redis.exceptions.RedisError: Redis is away, or refuses.
        """
        if not calls:
            return []
        try:
            return self._run_loaded(redis, calls)
        except NoScriptError:
            redis.script_load(self.text)
            return self._run_loaded(redis, calls)

    async def run_async(self, redis: aioredis.Redis, calls: Sequence[Call]) -> list[Any]:
        """The same, of a client on an event loop."""
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
