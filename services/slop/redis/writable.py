"""Whether Redis accepts writes, which a PING does not tell: a full one, a read-only one and a replica answer it."""

from typing import Final

from redis import Redis
from redis import asyncio as aioredis

EXPIRY_S: Final = 60


def health_key(service: str) -> str:
    """The key that a service writes to find out."""
    return f"slop:health:{service}"


def require_writable(redis: Redis, service: str) -> None:
    """Write a small key, which expires after EXPIRY_S seconds.

    Raises:
        redis.exceptions.RedisError: Redis is away, or refuses writes and says why.
    """
    redis.set(health_key(service), 1, ex=EXPIRY_S)


async def require_writable_async(redis: aioredis.Redis, service: str) -> None:
    """`require_writable`, for a client on an event loop."""
    await redis.set(health_key(service), 1, ex=EXPIRY_S)
