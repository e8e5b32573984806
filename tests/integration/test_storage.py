from dataclasses import replace

import pytest
from redis import Redis
from redis import asyncio as aioredis

from slop.profiles import InvalidProfile, Profile
from slop.storage import Profiles, Reader, User, Write, delete_profiles, profile_key, seen_key
from tests.basis import random_basis
from tests.signals import DAY_MS, NOON_MS

BASIS = random_basis()
PROFILE = replace(Profile.new(BASIS.version, BASIS.prior(1.0, 0.5, 1.0)), updated_at_ms=NOON_MS, partition=2, offset=9)
ANN = User("default", "ann")


@pytest.fixture
def profiles(redis_client: Redis) -> Profiles:
    return Profiles(redis_client, BASIS.version, 7 * DAY_MS)


def write(user: User = ANN, at_ms: int = NOON_MS, event: str = "e", **changes: int) -> Write:
    return Write(user, replace(PROFILE, updated_at_ms=at_ms, **changes), ((at_ms, event),))


def test_nothing_is_known_of_a_new_user(profiles: Profiles) -> None:
    [stored] = profiles.read([(ANN, ["e", "f"])])
    assert (stored.profile, stored.seen) == (None, (None, None))


def test_a_profile_and_its_events_are_read_as_they_were_written(profiles: Profiles) -> None:
    assert profiles.apply([write()]) == [True]
    [stored] = profiles.read([(ANN, ["f", "e"])])
    assert (stored.profile, stored.seen) == (PROFILE.to_bytes(), (None, NOON_MS))


@pytest.mark.parametrize("offset", [0, 8, 9])
def test_an_offset_that_is_not_newer_changes_nothing(profiles: Profiles, offset: int) -> None:
    profiles.apply([write()])
    assert profiles.apply([write(event="f", offset=offset, interactions=50)]) == [False]
    [stored] = profiles.read([(ANN, ["f"])])
    assert (stored.profile, stored.seen) == (PROFILE.to_bytes(), (None,))


def test_offsets_compare_as_numbers_and_within_a_partition(profiles: Profiles) -> None:
    assert profiles.apply([write(offset=9), write(offset=10), write(partition=1, offset=3)]) == [True, True, True]


def test_one_user_refused_does_not_keep_the_others_from_being_written(profiles: Profiles) -> None:
    profiles.apply([write()])
    bob = User("default", "bob")
    assert profiles.apply([write(), write(bob), write(offset=10)]) == [False, True, True]


def test_tenants_do_not_share_users(profiles: Profiles) -> None:
    profiles.apply([write()])
    [other] = profiles.read([(User("other", "ann"), ["e"])])
    assert (other.profile, other.seen) == (None, (None,))


def test_names_with_separators_can_not_reach_another_users_key() -> None:
    keys = {profile_key("b", tenant, user) for tenant, user in [("a", "b/c"), ("a/b", "c"), ("a", "b}/c"), ("a}", "c")]}
    assert len(keys) == 4
    assert all(key.count("{") == key.count("}") == 1 for key in keys)


def test_events_older_than_the_window_are_forgotten(profiles: Profiles, redis_client: Redis) -> None:
    profiles.apply([write(event="old")])
    profiles.apply([write(event="edge", at_ms=NOON_MS + 7 * DAY_MS, offset=10)])
    assert profiles.read([(ANN, ["old", "edge"])])[0].seen == (NOON_MS, NOON_MS + 7 * DAY_MS)
    profiles.apply([write(event="new", at_ms=NOON_MS + 7 * DAY_MS + 1, offset=11)])
    assert profiles.read([(ANN, ["old", "edge"])])[0].seen == (None, NOON_MS + 7 * DAY_MS)
    assert redis_client.zcard(seen_key(BASIS.version, *ANN)) == 2


def test_events_outlive_the_window_and_profiles_stay(profiles: Profiles, redis_client: Redis) -> None:
    profiles.apply([write()])
    assert 7 * DAY_MS < redis_client.pttl(seen_key(BASIS.version, *ANN)) <= 14 * DAY_MS
    assert redis_client.ttl(profile_key(BASIS.version, *ANN)) == -1


def test_two_thousand_events_of_one_user_fit_into_one_write(profiles: Profiles) -> None:
    events = tuple((NOON_MS + n, f"e{n}") for n in range(2_000))
    assert profiles.apply([Write(ANN, PROFILE, events)]) == [True]
    [stored] = profiles.read([(ANN, [event for _, event in events])])
    assert stored.seen == tuple(at_ms for at_ms, _ in events)


def test_scripts_are_loaded_again_after_redis_forgot_them(profiles: Profiles, redis_client: Redis) -> None:
    profiles.apply([write()])
    redis_client.script_flush()
    assert profiles.apply([write(offset=10)]) == [True]


def test_profiles_of_one_basis_are_deleted_and_those_of_another_stay(profiles: Profiles, redis_client: Redis) -> None:
    other = Profiles(redis_client, "another", 7 * DAY_MS)
    users = [User("default", f"user-{number}") for number in range(25)]
    for both in (profiles, other):
        both.apply([write(user) for user in users])
    assert sum(delete_profiles(redis_client, BASIS.version, batch=10)) == 2 * len(users)
    assert all(b":another:" in key for key in redis_client.keys("*"))
    assert [stored.profile is not None for stored in other.read([(user, []) for user in users])] == [True] * len(users)


async def test_generation_reads_what_the_learner_wrote(profiles: Profiles, redis_url: str) -> None:
    profiles.apply([write()])
    async with aioredis.Redis.from_url(redis_url) as redis:
        reader = Reader(redis, BASIS, "default")
        profile = await reader.profile("ann")
        assert profile is not None
        assert profile.to_bytes() == PROFILE.to_bytes()
        assert await reader.profile("bob") is None


async def test_generation_refuses_a_broken_profile(redis_client: Redis, redis_url: str) -> None:
    redis_client.hset(profile_key(BASIS.version, *ANN), "profile", b"\xff\xff")
    async with aioredis.Redis.from_url(redis_url) as redis:
        with pytest.raises(InvalidProfile):
            await Reader(redis, BASIS, "default").profile("ann")
