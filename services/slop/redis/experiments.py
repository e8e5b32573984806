"""What Redis remembers of experiments that have begun, so that one that is changed afterwards is refused."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from redis import asyncio as aioredis

from slop.experiments import Experiment, InvalidExperiment
from slop.redis.scripts import Call, Script

# KEYS: experiments. ARGV: name, digest, '1' if it has begun. Returns the digest that was remembered before, or
# false, and remembers an experiment that has begun.
_REMEMBER: Final = Script("""
local known = redis.call('HGET', KEYS[1], ARGV[1])
if not known and ARGV[3] == '1' then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
return known
""")


def experiments_key(tenant: str) -> str:
    """The key of a tenant's experiments that have begun: a hash, from the name to the digest."""
    return f"slop:experiments:{{{quote(tenant, safe='')}}}"


async def remember_experiments(
    redis: aioredis.Redis, tenant: str, experiments: Iterable[Experiment], now: datetime
) -> None:
    """Remember those of a tenant's experiments that have begun.

    Raises:
        InvalidExperiment: one has begun before with other arms, weights or another start.
        redis.exceptions.RedisError: Redis does not answer.
    """
    given = list(experiments)
    calls = [Call([experiments_key(tenant)], [one.name, one.digest, int(one.start <= now)]) for one in given]
    known: list[Any] = await _REMEMBER.run_async(redis, calls)
    for one, digest in zip(given, known, strict=True):
        if digest is not None and digest.decode() != one.digest:
            raise InvalidExperiment(
                f"{one.name} began with other arms, weights or another start: "
                "put them back, or give what is new a name of its own"
            )
