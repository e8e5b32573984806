"""Clients of Redis whose calls all have a time limit."""

from redis import Redis
from redis import asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff


def redis_client(url: str, timeout_s: float) -> Redis:
    """A client for threads. It connects at its first call, and no call takes longer than `timeout_s` seconds."""
    return Redis.from_url(url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)


def pooled_client(url: str, timeout_s: float, connections: int) -> aioredis.Redis:
    """A client for an event loop, without retries and with at most so many connections.

    A call waits at most `timeout_s` seconds for a connection, and as long for the answer.
    """
    pool = aioredis.BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
    )
    return aioredis.Redis.from_pool(pool)
