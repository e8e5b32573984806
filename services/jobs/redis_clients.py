"""Connections to the Redis of the profiles."""

from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis

from jobs.settings import JobsSettings
from slop.storage import ProfileArchive


def connected(url: str, settings: JobsSettings) -> Redis:
    """A client whose every wait has an end; it connects when it is used."""
    timeout_s = settings.jobs_timeout_s
    return Redis.from_url(url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)


@contextmanager
def profile_archive(settings: JobsSettings, basis: str) -> Iterator[ProfileArchive]:
    """The profiles under a basis."""
    with connected(settings.redis_url, settings) as redis:
        yield ProfileArchive(redis, basis, 1_000 * settings.seen_window_s)
