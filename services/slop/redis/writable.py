"""Whether Redis takes writes: one that is full, read-only or a replica answers every PING."""

from typing import Final

from redis import Redis
from redis import asyncio as aioredis

EXPIRY_S: Final = 60


def health_key(service: str) -> str:
    """What a service writes to see whether it can."""
    return f"slop:health:{service}"


def require_writable(redis: Redis, service: str) -> None:
    """Write something small, which expires.

    Raises:
        redis.exceptions.RedisError: Redis is away, or refuses writes and says why.
    """
    redis.set(health_key(service), 1, ex=EXPIRY_S)


async def require_writable_async(redis: aioredis.Redis, service: str) -> None:
    """The same, of a client on an event loop."""
    await redis.set(health_key(service), 1, ex=EXPIRY_S)
