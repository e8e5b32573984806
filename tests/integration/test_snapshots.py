"""Profiles learned in a real Redis, snapshotted, lost and restored."""

import dataclasses
import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from redis import Redis

from jobs.census import take_census
from jobs.crowd import CrowdShares
from jobs.limits import Interrupted, JobLimits
from jobs.snapshot_file import InvalidSnapshot
from jobs.snapshots import Snapshot, SnapshotRefused, restore_snapshot, snapshots, take_snapshot
from learner.learning import Learner
from slop.kafka.topics import encode
from slop.profiles import Profile
from slop.redis.profiles import ProfileArchive, Profiles, User, profile_key, recent_key, user_of
from tests.basis import random_basis
from tests.jobs import command, jobs_settings
from tests.learners import everything
from tests.signals import DAY_MS, NOON_MS, a_signal

BASIS = random_basis()
PRIOR = BASIS.prior(variance=1.0, bias_variance=0.5, forgetting=0.998)
WINDOW_MS = 7 * DAY_MS
AWKWARD = ["ann", "a/b", "a:b", "{ann}", "*", "zoë", "a b%2F"]


@pytest.fixture
def learner(redis_client: Redis) -> Learner:
    return Learner(Profiles(redis_client, BASIS.version, WINDOW_MS), BASIS, PRIOR, WINDOW_MS)


@pytest.fixture
def archive(redis_client: Redis) -> ProfileArchive:
    return ProfileArchive(redis_client, BASIS.version, WINDOW_MS)


@pytest.fixture
def limits() -> JobLimits:
    return JobLimits(60, threading.Event())


def learn(learner: Learner, users: list[str], first: int = 0, tenant: str = "default") -> None:
    signals = [a_signal(BASIS, offset, user=user, tenant=tenant) for offset, user in enumerate(users, first)]
    assert learner.learn([encode(signal) for signal in signals]).learned == len(users)


def test_what_was_lost_is_restored_byte_for_byte(
    learner: Learner, archive: ProfileArchive, redis_client: Redis, limits: JobLimits, tmp_path: Path
) -> None:
    learn(learner, [*AWKWARD, *AWKWARD, *(f"user{n}" for n in range(1_200))])
    learn(learner, AWKWARD, tenant="other/{tenant}:")
    before = everything(redis_client)
    snapshot = take_snapshot(archive, BASIS.version, tmp_path, 7, limits)
    redis_client.flushall()
    assert restore_snapshot(snapshot.path, archive, BASIS.version) == (1_214, 1_214)
    assert everything(redis_client) == before
    assert 0 < redis_client.pttl(recent_key(BASIS.version, "default", "ann")) <= 2 * WINDOW_MS


def test_learning_goes_on_after_a_restore_as_if_nothing_had_been_lost(
    learner: Learner, archive: ProfileArchive, redis_client: Redis, limits: JobLimits, tmp_path: Path
) -> None:
    learn(learner, ["ann", "bob", "ann"])
    snapshot = take_snapshot(archive, BASIS.version, tmp_path, 7, limits)
    learn(learner, ["ann", "bob"], first=3)
    expected = everything(redis_client)
    redis_client.flushall()
    restore_snapshot(snapshot.path, archive, BASIS.version)
    replayed = [a_signal(BASIS, offset, user=user) for offset, user in enumerate(["ann", "bob", "ann", "ann", "bob"])]
    assert learner.learn([encode(signal) for signal in replayed]).applied_before == 3
    assert everything(redis_client) == expected


def test_a_profile_that_is_there_is_kept_unless_it_is_to_be_replaced(
    learner: Learner, archive: ProfileArchive, redis_client: Redis, limits: JobLimits, tmp_path: Path
) -> None:
    learn(learner, ["ann", "bob"])
    old = everything(redis_client)
    snapshot = take_snapshot(archive, BASIS.version, tmp_path, 7, limits)
    learn(learner, ["ann"], first=2)
    newer = everything(redis_client)
    assert restore_snapshot(snapshot.path, archive, BASIS.version) == (0, 2)
    assert everything(redis_client) == newer
    assert restore_snapshot(snapshot.path, archive, BASIS.version, replace=True) == (2, 2)
    assert everything(redis_client) == old


def test_nothing_is_restored_from_a_damaged_file(
    learner: Learner, archive: ProfileArchive, redis_client: Redis, limits: JobLimits, tmp_path: Path
) -> None:
    learn(learner, [f"user{n}" for n in range(2_000)])
    snapshot = take_snapshot(archive, BASIS.version, tmp_path, 7, limits)
    snapshot.path.write_bytes(snapshot.path.read_bytes()[:-8])
    redis_client.flushall()
    with pytest.raises(InvalidSnapshot, match="damaged"):
        restore_snapshot(snapshot.path, archive, BASIS.version)
    assert redis_client.dbsize() == 0


def test_profiles_of_another_basis_are_neither_taken_nor_restored(
    learner: Learner, archive: ProfileArchive, redis_client: Redis, limits: JobLimits, tmp_path: Path
) -> None:
    learn(learner, ["ann"])
    other = ProfileArchive(redis_client, "0123456789ab", WINDOW_MS)
    assert take_snapshot(other, "0123456789ab", tmp_path, 7, limits).profiles == 0
    snapshot = take_snapshot(archive, BASIS.version, tmp_path, 7, limits)
    with pytest.raises(InvalidSnapshot, match=f"of the basis {BASIS.version}, not of 0123456789ab"):
        restore_snapshot(snapshot.path, other, "0123456789ab")


def test_only_the_newest_snapshots_of_a_basis_are_kept_and_only_their_owner_may_read_them(
    learner: Learner, archive: ProfileArchive, limits: JobLimits, tmp_path: Path
) -> None:
    learn(learner, ["ann"])
    foreign = Snapshot("0123456789ab", datetime.now(UTC) - timedelta(days=900), 1, tmp_path).path
    foreign.touch()
    taken = [take_snapshot(archive, BASIS.version, tmp_path, 3, limits) for _ in range(5)]
    assert snapshots(tmp_path, BASIS.version) == taken[:1:-1]
    assert foreign.exists()
    assert {one.path.stat().st_mode & 0o777 for one in taken[2:]} == {0o600}


def test_an_empty_redis_pushes_no_snapshot_out(
    learner: Learner, archive: ProfileArchive, redis_client: Redis, limits: JobLimits, tmp_path: Path
) -> None:
    learn(learner, ["ann"])
    taken = take_snapshot(archive, BASIS.version, tmp_path, 1, limits)
    redis_client.flushall()
    assert take_snapshot(archive, BASIS.version, tmp_path, 1, limits).profiles == 0
    assert list(tmp_path.iterdir()) == [taken.path]


def test_an_interrupted_snapshot_leaves_nothing_behind(
    learner: Learner, archive: ProfileArchive, tmp_path: Path
) -> None:
    learn(learner, ["ann"])
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted):
        take_snapshot(archive, BASIS.version, tmp_path, 7, JobLimits(60, stop))
    assert list(tmp_path.iterdir()) == []


def test_the_census_counts_every_profile_once_and_passes_over_broken_ones(
    learner: Learner, archive: ProfileArchive, redis_client: Redis, limits: JobLimits
) -> None:
    learn(learner, [*(f"user{n}" for n in range(1_500)), *["ann"] * 8])
    redis_client.hset(profile_key(BASIS.version, "default", "broken"), "profile", b"\xff\xff")
    crowd = CrowdShares(BASIS.size, BASIS.dimensions)
    census = take_census(archive, crowd, NOON_MS + 2 * DAY_MS, limits)
    assert {name: count for name, count in census.interactions.items() if count} == {"1-3": 1_500, "8-15": 1}
    assert {name: count for name, count in census.ages.items() if count} == {"7d": 1_501}


@pytest.mark.parametrize("user_id", AWKWARD)
def test_a_key_tells_whose_it_is(user_id: str) -> None:
    assert user_of(profile_key("0123456789ab", "a/t:{", user_id)) == User("a/t:{", user_id)


def test_the_command_restores_a_snapshot(
    learner: Learner, archive: ProfileArchive, redis_client: Redis, redis_url: str, limits: JobLimits, tmp_path: Path
) -> None:
    learn(learner, ["ann", "bob"])
    before = everything(redis_client)
    snapshot = take_snapshot(archive, BASIS.version, tmp_path, 7, limits)
    redis_client.flushall()
    BASIS.save(tmp_path / "basis")
    done = command(jobs_settings(tmp_path, redis_url), "restore", str(snapshot.path))
    assert json.loads(done.stdout) == {
        "stored": 2,
        "in_file": 2,
        "taken_at_ms": round(1_000 * snapshot.begun.timestamp()),
    }
    assert f"--reset-offsets --to-datetime {snapshot.begun:%Y-%m-%dT%H:%M:%S}." in done.stderr
    assert everything(redis_client) == before


def test_the_command_says_what_is_wrong_with_a_file(redis_url: str, tmp_path: Path) -> None:
    BASIS.save(tmp_path / "basis")
    done = command(jobs_settings(tmp_path, redis_url), "restore", str(tmp_path / "nowhere"))
    assert done.returncode == 1
    assert "restore: [Errno 2] No such file" in done.stderr


def test_a_snapshot_with_half_the_profiles_gone_is_refused_and_the_good_one_kept(
    learner: Learner, archive: ProfileArchive, redis_client: Redis, limits: JobLimits, tmp_path: Path
) -> None:
    learn(learner, [f"user{n}" for n in range(10)])
    good = take_snapshot(archive, BASIS.version, tmp_path, 1, limits, least_share=0.5)
    for number in range(6):
        redis_client.delete(profile_key(BASIS.version, "default", f"user{number}"))
    with pytest.raises(SnapshotRefused, match="4 profiles, and 10 in"):
        take_snapshot(archive, BASIS.version, tmp_path, 1, limits, least_share=0.5)
    assert list(tmp_path.iterdir()) == [good.path]
    redis_client.flushall()
    with pytest.raises(SnapshotRefused, match="0 profiles"):
        take_snapshot(archive, BASIS.version, tmp_path, 1, limits, least_share=0.5)
    learn(learner, [f"user{n}" for n in range(5)], first=20)
    taken = take_snapshot(archive, BASIS.version, tmp_path, 1, limits, least_share=0.5)
    assert list(tmp_path.iterdir()) == [taken.path]


def test_a_snapshot_is_restored_into_another_generation_of_its_basis(
    learner: Learner, archive: ProfileArchive, redis_client: Redis, limits: JobLimits, tmp_path: Path
) -> None:
    learn(learner, ["ann", "bob"])
    before = archive.profiles([User("default", "ann")])
    snapshot = take_snapshot(archive, BASIS.version, tmp_path, 7, limits)
    anew = f"{BASIS.version}.1a2b"
    other = ProfileArchive(redis_client, anew, WINDOW_MS)
    assert restore_snapshot(snapshot.path, other, anew) == (2, 2)
    (restored,) = other.profiles([User("default", "ann")])
    profile = Profile.from_bytes(restored or b"", BASIS.dimensions)
    assert profile.basis == anew
    assert dataclasses.replace(profile, basis=BASIS.version).to_bytes() == before[0]
