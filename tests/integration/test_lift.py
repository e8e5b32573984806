"""The lift's sums in a real Redis, and the command that tells the lift."""

import json
import subprocess
import sys
from pathlib import Path

from redis import Redis
from redis.exceptions import ConnectionError as RedisAway

from learner.lift import LiftCounter, Reaction
from slop.lift import ArmOfExperiment, LiftSums
from slop.redis.lift import add_lift, lift_key, read_lift
from slop.redis.profiles import User

SOFT, BASE = ArmOfExperiment("autumn", "soft"), ArmOfExperiment("autumn", "base")


def reactions(at: ArmOfExperiment, readers: int, liked: bool) -> list[Reaction]:
    return [Reaction(User("default", f"{at.arm}-{liked}-{number}"), at, liked) for number in range(readers)]


class Away(Redis):
    """One that does not answer."""

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> object:  # type: ignore[override]
        raise RedisAway("away")


def test_sums_outlive_the_learner_and_what_redis_did_not_take_is_added_later(redis_client: Redis) -> None:
    first, second = LiftCounter(), LiftCounter()
    first.count(reactions(SOFT, 3, True), now_ms=5.0)
    first.keep(Away())
    assert read_lift(redis_client, "default") == {}
    first.count(reactions(SOFT, 3, True), now_ms=5.0)  # of the same readers
    for _ in range(2):
        first.keep(redis_client)
    second.count(reactions(BASE, 2, False), now_ms=5.0)
    second.keep(redis_client)
    assert read_lift(redis_client, "default") == {SOFT: LiftSums(3, 6, 0, 12, 12, 12), BASE: LiftSums(2, 0, 2, 0, 0, 2)}
    assert read_lift(redis_client, "other") == {}


def test_fields_of_another_release_are_passed_over(redis_client: Redis) -> None:
    add_lift(redis_client, "default", {ArmOfExperiment("", "persona"): LiftSums(1, 1)})
    redis_client.hset(lift_key("default"), "|persona|clicks", 9)
    assert read_lift(redis_client, "default") == {ArmOfExperiment("", "persona"): LiftSums(1, 1)}


def lift(redis_url: str, folder: Path, *options: str) -> str:
    """What the command prints."""
    command = [sys.executable, "-m", "jobs", "lift", *options]
    environment = {"SLOP_REDIS_URL": redis_url, **_environment()}
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout


def _environment() -> dict[str, str]:
    import os

    return dict(os.environ)


def test_the_command_tells_the_lift_of_every_arm(redis_client: Redis, redis_url: str, tmp_path: Path) -> None:
    assert "no reaction" in lift(redis_url, tmp_path)
    counter = LiftCounter()
    for at, liked, not_liked in ((SOFT, 239, 159), (BASE, 7, 11)):
        counter.count(reactions(at, liked, True) + reactions(at, not_liked, False), now_ms=5.0)
    counter.keep(redis_client)
    control, soft = json.loads(lift(redis_url, tmp_path, "--json"))
    assert (control["arm"], control["lift"]) == ("base", None)
    assert {name: soft[name] for name in ("experiment", "arm", "readers", "reactions")} == {
        "experiment": "autumn",
        "arm": "soft",
        "readers": 398,
        "reactions": 398,
    }
    assert [round(soft[name], 2) for name in ("lift", "low", "high")] == [0.2, -0.02, 0.42]
    table = lift(redis_url, tmp_path)
    assert "autumn" in table
    assert "+20.0%  -2.0% to +42.0%" in " ".join(table.split()).replace("% -2", "%  -2")
