"""How many readers there are, by how much is known of them and since when."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import structlog
from google.protobuf.message import DecodeError

from jobs.crowd import CrowdShares
from jobs.limits import JobLimits
from slop.redis.profiles import ProfileArchive, User
from slop.v1.profile_pb2 import Profile as ProfileRecord

INTERACTIONS: Final = ("1-3", "4-7", "8-15", "16-31", "32+")
_FIRST_OF_NEXT: Final = (4, 8, 16, 32)
AGES: Final = ("5m", "1h", "1d", "7d", "older")
_LONGEST_MS: Final = (300_000, 3_600_000, 86_400_000, 7 * 86_400_000)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Census:
    """Counts of profiles: by their number of interactions, and by the age of their newest interaction."""

    interactions: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(INTERACTIONS, 0)))
    ages: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(AGES, 0)))

    def add(self, profiles: Iterable[ProfileRecord], now_ms: int) -> None:
        """Count profiles."""
        for profile in profiles:
            self.interactions[INTERACTIONS[bisect_right(_FIRST_OF_NEXT, profile.interactions)]] += 1
            self.ages[AGES[bisect_left(_LONGEST_MS, now_ms - profile.updated_at_ms)]] += 1


def take_census(archive: ProfileArchive, crowd: CrowdShares, now_ms: int, limits: JobLimits) -> Census:
    """Count all profiles.

    Args:
        archive: where they are.
        crowd: to which they are added as well.
        now_ms: the time, in milliseconds since the Unix epoch.
        limits: of the job.

    Raises:
        jobs.limits.Interrupted: the worker stops.
        jobs.limits.TookTooLong: there are too many.
        redis.exceptions.RedisError: Redis is away.
    """
    census = Census()
    for users in archive.users():
        limits.check()
        profiles = list(_decoded(users, archive.profiles(users)))
        census.add((profile for _, profile in profiles), now_ms)
        crowd.add(profiles)
    return census


def _decoded(users: Iterable[User], profiles: Iterable[bytes | None]) -> Iterable[tuple[User, ProfileRecord]]:
    for user, data in zip(users, profiles, strict=True):
        if data is None:
            continue
        try:
            yield user, ProfileRecord.FromString(data)
        except DecodeError:
            log.warning("a stored profile is broken")
