"""The sums that the lift is computed from, kept in Redis, where they outlive the learner's processes."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from urllib.parse import quote, unquote

from redis import Redis

from slop.lift import ArmOfExperiment, LiftSums


def lift_key(tenant: str) -> str:
    """The key of a tenant's sums: a hash; its fields are experiment, arm and name of the sum, joined by `|`."""
    return f"slop:lift:{{{quote(tenant, safe='')}}}"


def add_lift(redis: Redis, tenant: str, sums: Mapping[ArmOfExperiment, LiftSums]) -> None:
    """Add to a tenant's sums, in one round trip and all or nothing.

    Raises:
        redis.exceptions.RedisError: Redis is away. The sums may have been added all the same.
    """
    pipe = redis.pipeline(transaction=True)
    for (experiment, arm), more in sums.items():
        for name, count in asdict(more).items():
            if count:
                pipe.hincrby(lift_key(tenant), f"{quote(experiment, safe='')}|{arm}|{name}", count)
    pipe.execute()


def read_lift(redis: Redis, tenant: str) -> dict[ArmOfExperiment, LiftSums]:
    """A tenant's sums. Fields of other releases are passed over.

    Raises:
        redis.exceptions.RedisError: Redis is away.
    """
    stored: dict[bytes, bytes] = redis.hgetall(lift_key(tenant))  # type: ignore[assignment]
    known = {field.name for field in fields(LiftSums)}
    found: dict[ArmOfExperiment, dict[str, int]] = {}
    for field, count in stored.items():
        experiment, arm, name = field.decode().split("|")
        if name in known:
            found.setdefault(ArmOfExperiment(unquote(experiment), arm), {})[name] = int(count)
    return {at: LiftSums(**counts) for at, counts in found.items()}
