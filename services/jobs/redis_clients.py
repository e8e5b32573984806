"""Connections to the Redis of the profiles."""

from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis

from jobs.settings import JobsSettings
from slop.basis import Basis
from slop.redis.client import redis_client
from slop.redis.profiles import ProfileArchive
from slop.rollout.live import live_basis


def connected(url: str, settings: JobsSettings) -> Redis:
    """A client with a timeout on every command; it connects when it is first used."""
    return redis_client(url, settings.jobs_timeout_s)


@contextmanager
def live_archive(settings: JobsSettings) -> Iterator[tuple[ProfileArchive, Basis]]:
    """The profiles under the live basis, and the basis.

    Raises:
        slop.basis.InvalidBasis: there is no usable basis.
        redis.exceptions.RedisError: Redis is away.
    """
    with connected(settings.redis_url, settings) as redis:
        basis = live_basis(settings.basis_dir, redis)
        yield ProfileArchive(redis, basis.version, 1_000 * settings.seen_window_s), basis
