"""What all readers together like, in Redis: the mean of their shares of the prompts of a basis. A job writes it."""

from typing import Final, cast

import numpy as np
import numpy.typing as npt
from redis import Redis
from redis import asyncio as aioredis

Doubles = npt.NDArray[np.float64]

CROWD_TTL_S: Final = 7 * 24 * 3600


def crowd_key(basis: str, tenant: str) -> str:
    """The key of what a tenant's readers like under a basis: a string, (K,) float32, little-endian."""
    return f"slop:crowd:{basis}:{tenant}"


def write_crowd(redis: Redis, basis: str, tenant: str, share: Doubles) -> None:
    """Store the shares of a tenant's crowd, (K,), for CROWD_TTL_S seconds."""
    redis.set(crowd_key(basis, tenant), share.astype("<f4").tobytes(), ex=CROWD_TTL_S)


async def read_crowd(redis: aioredis.Redis, basis: str, tenant: str, prompts: int) -> Doubles | None:
    """The shares of a tenant's crowd, (K,) float64 that sums to 1; None if none is stored, or if it is not usable.

    Raises:
        redis.exceptions.RedisError: Redis does not answer.
    """
    data = cast("bytes | None", await redis.get(crowd_key(basis, tenant)))
    if data is None or len(data) != 4 * prompts:
        return None
    share = np.frombuffer(data, "<f4").astype(np.float64)
    usable = bool(np.isfinite(share).all()) and share.min() >= 0 and share.sum() > 0
    return share / share.sum() if usable else None
