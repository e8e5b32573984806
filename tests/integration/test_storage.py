from dataclasses import replace

import pytest
from redis import Redis
from redis import asyncio as aioredis

from slop.profiles import Applied, InvalidProfile, Profile
from slop.redis.profiles import ProfileReader, Profiles, User, Write, delete_profiles, profile_key, recent_key
from tests.basis import random_basis
from tests.signals import DAY_MS, NOON_MS

BASIS = random_basis()
PROFILE = replace(
    Profile.new(BASIS.version, BASIS.prior(1.0, 0.5, 1.0)), updated_at_ms=NOON_MS, applied=(Applied(1, 2, 9),)
)
ANN = User("default", "ann")


@pytest.fixture
def profiles(redis_client: Redis) -> Profiles:
    return Profiles(redis_client, BASIS.version, 7 * DAY_MS)


def write(user: User = ANN, follows: Profile | None = None, profile: Profile = PROFILE, recent: bytes = b"r") -> Write:
    return Write(user, None if follows is None else follows.to_bytes(), profile, recent)


def after(profile: Profile, *, offset: int, partition: int = 2) -> Profile:
    """A profile after one more signal."""
    return replace(profile, interactions=profile.interactions + 1, applied=(Applied(1, partition, offset),))


def test_nothing_is_known_of_a_new_user(profiles: Profiles) -> None:
    [stored] = profiles.read([ANN])
    assert (stored.profile, stored.recent) == (None, None)


def test_a_profile_and_its_latest_events_are_read_as_they_were_written(profiles: Profiles) -> None:
    assert profiles.apply([write(recent=b"\x00\xffevents")]) == [True]
    [stored] = profiles.read([ANN])
    assert (stored.profile, stored.recent) == (PROFILE.to_bytes(), b"\x00\xffevents")


def test_a_profile_that_follows_another_than_the_stored_one_changes_nothing(profiles: Profiles) -> None:
    profiles.apply([write()])
    theirs, ours = after(PROFILE, offset=10), after(PROFILE, offset=11)
    assert profiles.apply([write(follows=PROFILE, profile=theirs, recent=b"theirs")]) == [True]
    assert profiles.apply([write(follows=PROFILE, profile=ours, recent=b"ours")]) == [False]
    assert profiles.apply([write(profile=ours, recent=b"ours")]) == [False]
    [stored] = profiles.read([ANN])
    assert (stored.profile, stored.recent) == (theirs.to_bytes(), b"theirs")


def test_signals_of_two_partitions_learned_at_once_do_not_lose_each_other(profiles: Profiles) -> None:
    """Each has a newer offset of its own partition, and has not learned what the other one has."""
    profiles.apply([write()])
    first, second = after(PROFILE, partition=2, offset=10), after(PROFILE, partition=5, offset=0)
    assert profiles.apply([write(follows=PROFILE, profile=one) for one in (first, second)]) == [True, False]


def test_a_profile_that_was_deleted_meanwhile_does_not_come_back(profiles: Profiles, redis_client: Redis) -> None:
    profiles.apply([write()])
    redis_client.flushdb()
    assert profiles.apply([write(follows=PROFILE, profile=after(PROFILE, offset=10))]) == [False]
    assert redis_client.dbsize() == 0


def test_a_write_whose_answer_was_lost_may_be_sent_again(profiles: Profiles) -> None:
    assert profiles.apply([write()]) == [True]
    assert profiles.apply([write()]) == [True]


def test_one_user_refused_does_not_keep_the_others_from_being_written(profiles: Profiles) -> None:
    profiles.apply([write()])
    bob, newer = User("default", "bob"), after(PROFILE, offset=10)
    assert profiles.apply([write(profile=newer), write(bob), write(follows=PROFILE, profile=newer)]) == [
        False,
        True,
        True,
    ]


def test_tenants_do_not_share_users(profiles: Profiles) -> None:
    profiles.apply([write()])
    [other] = profiles.read([User("other", "ann")])
    assert (other.profile, other.recent) == (None, None)


def test_names_with_separators_can_not_reach_another_users_key() -> None:
    keys = {profile_key("b", tenant, user) for tenant, user in [("a", "b/c"), ("a/b", "c"), ("a", "b}/c"), ("a}", "c")]}
    assert len(keys) == 4
    assert all(key.count("{") == key.count("}") == 1 for key in keys)


def test_events_outlive_the_window_and_profiles_stay(profiles: Profiles, redis_client: Redis) -> None:
    profiles.apply([write()])
    assert 7 * DAY_MS < redis_client.pttl(recent_key(BASIS.version, *ANN)) <= 14 * DAY_MS
    assert redis_client.ttl(profile_key(BASIS.version, *ANN)) == -1


def test_scripts_are_loaded_again_after_redis_forgot_them(profiles: Profiles, redis_client: Redis) -> None:
    profiles.apply([write()])
    redis_client.script_flush()
    assert profiles.apply([write(follows=PROFILE, profile=after(PROFILE, offset=10))]) == [True]


def test_profiles_of_one_basis_are_deleted_and_those_of_another_stay(profiles: Profiles, redis_client: Redis) -> None:
    other = Profiles(redis_client, "another", 7 * DAY_MS)
    users = [User("default", f"user-{number}") for number in range(25)]
    for both in (profiles, other):
        both.apply([write(user) for user in users])
    assert sum(delete_profiles(redis_client, BASIS.version, batch=10)) == 2 * len(users)
    assert all(b":another:" in key for key in redis_client.keys("*"))
    assert [stored.profile is not None for stored in other.read(users)] == [True] * len(users)


async def test_generation_reads_what_the_learner_wrote(profiles: Profiles, redis_url: str) -> None:
    profiles.apply([write()])
    async with aioredis.Redis.from_url(redis_url) as redis:
        reader = ProfileReader(redis, BASIS, "default")
        profile = await reader.profile("ann")
        assert profile is not None
        assert profile.to_bytes() == PROFILE.to_bytes()
        assert await reader.profile("bob") is None


async def test_generation_refuses_a_broken_profile(redis_client: Redis, redis_url: str) -> None:
    redis_client.hset(profile_key(BASIS.version, *ANN), "profile", b"\xff\xff")
    async with aioredis.Redis.from_url(redis_url) as redis:
        with pytest.raises(InvalidProfile):
            await ProfileReader(redis, BASIS, "default").profile("ann")
