import pytest

from jobs.census import AGES, INTERACTIONS, Census
from slop.v1.profile_pb2 import Profile as ProfileRecord

NOW_MS = 1_790_000_000_000
MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS


def census_of(*profiles: ProfileRecord) -> Census:
    census = Census()
    census.add(profiles, NOW_MS)
    return census


def only(counts: dict[str, int]) -> str:
    (name,) = [name for name, count in counts.items() if count]
    return name


@pytest.mark.parametrize(
    ("interactions", "expected"),
    [(1, "1-3"), (3, "1-3"), (4, "4-7"), (7, "4-7"), (8, "8-15"), (15, "8-15"), (16, "16-31"), (31, "16-31"),
     (32, "32+"), (10_000, "32+")],
)  # fmt: skip
def test_a_profile_is_counted_by_its_interactions(interactions: int, expected: str) -> None:
    census = census_of(ProfileRecord(interactions=interactions, updated_at_ms=NOW_MS))
    assert only(census.interactions) == expected


@pytest.mark.parametrize(
    ("age_ms", "expected"),
    [(0, "5m"), (5 * MINUTE_MS, "5m"), (5 * MINUTE_MS + 1, "1h"), (60 * MINUTE_MS, "1h"), (DAY_MS, "1d"),
     (DAY_MS + 1, "7d"), (7 * DAY_MS, "7d"), (7 * DAY_MS + 1, "older"), (-MINUTE_MS, "5m")],
)  # fmt: skip
def test_a_profile_is_counted_by_the_age_of_its_newest_interaction(age_ms: int, expected: str) -> None:
    assert only(census_of(ProfileRecord(interactions=1, updated_at_ms=NOW_MS - age_ms)).ages) == expected


def test_bins_without_a_profile_are_told_as_zero() -> None:
    census = Census()
    assert census.interactions == dict.fromkeys(INTERACTIONS, 0)
    assert census.ages == dict.fromkeys(AGES, 0)
