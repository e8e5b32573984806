"""Generation in an experiment: the arms of its readers, and what Redis remembers of it."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from redis import Redis

from slop.arms import Arm, arm_of
from slop.redis.experiments import experiments_key
from tests.basis import random_basis
from tests.engines import hanging_engine
from tests.generations import client_of, generation_server
from tests.waiting import eventually

BASIS = random_basis()
NOW: Final = datetime.now(UTC).replace(microsecond=0)
READERS: Final = [f"reader-{number}" for number in range(12)]


def write(folder: Path, name: str = "autumn", start_s: float = -60, end_s: float = 3_600, soft: float = 2) -> Path:
    """An experiment's file, with times from now on in seconds; returns its folder."""
    start, end = (NOW + timedelta(seconds=seconds) for seconds in (start_s, end_s))
    folder.mkdir(exist_ok=True)
    text = f'name = "{name}"\nstart = {start.isoformat()}\nend = {end.isoformat()}\n[arms]\nbase = 1\nsoft = {soft}\n'
    (folder / f"{name}.toml").write_text(f"{text}history = 1\n")
    return folder


def test_readers_are_in_the_arms_of_the_experiment_and_their_posts_name_it(
    tmp_path: Path, redis_client: Redis, redis_url: str
) -> None:
    weights = {Arm.BASE: 1.0, Arm.SOFT: 2.0, Arm.HISTORY: 1.0}
    with hanging_engine() as engine:
        server, url = generation_server(
            tmp_path, BASIS, vllm_url=engine.url, redis_url=redis_url, experiments=write(tmp_path / "experiments")
        )
        server.start()
        with client_of(url) as client:
            eventually(lambda: client.get("/readyz").json()["checks"]["engine"] == "ok")
            answers = {
                reader: client.post("/v1/generate", json={"user_id": reader, "max_tokens": 2}).json()
                for reader in READERS
            }
            assert client.get("/readyz").json()["checks"]["experiments"] == "ok"
        server.stop()
    about = {reader: answer["personalization"] for reader, answer in answers.items()}
    assert {reader: one["arm"] for reader, one in about.items()} == {
        reader: arm_of("default", reader, weights, "autumn") for reader in READERS
    }
    assert {one["experiment"] for one in about.values()} == {"autumn"}
    [post] = answers[READERS[0]]["posts"]
    assert redis_client.hget(f"slop:text:{{default/{post['post_id']}}}", "experiment") == b"autumn"
    assert list(redis_client.hgetall(experiments_key("default"))) == [b"autumn"]


def test_an_experiment_that_is_changed_after_its_start_is_refused(
    tmp_path: Path, redis_client: Redis, redis_url: str
) -> None:
    folder = tmp_path / "experiments"
    write(folder), write(folder, "winter", 3_600, 7_200)

    def started() -> None:
        server, url = generation_server(tmp_path, BASIS, redis_url=redis_url, experiments=folder)
        server.start()
        with client_of(url) as client:
            assert client.get("/readyz").json()["checks"]["experiments"] == "ok"
        server.stop()

    started()
    write(folder, end_s=1_800), write(folder, "winter", 1_800, 7_200, soft=5)  # its end, and what has not begun
    started()
    write(folder, end_s=1_800, soft=3)
    with pytest.raises(RuntimeError, match="autumn began with other arms, weights or another start"):
        started()
    redis_client.delete(experiments_key("default"))
    started()


def test_one_that_is_found_to_be_changed_later_makes_generation_not_ready(
    tmp_path: Path, redis_client: Redis, redis_url: str
) -> None:
    server, url = generation_server(tmp_path, BASIS, redis_url=redis_url, experiments=write(tmp_path / "experiments"))
    server.start()
    with client_of(url) as client:
        redis_client.hset(experiments_key("default"), "autumn", "0123")
        eventually(lambda: "autumn began with other" in json.dumps(client.get("/readyz").json()["checks"]))
        assert client.get("/readyz").status_code == 503
    server.stop()


def test_experiments_that_overlap_end_the_process_with_the_reason(tmp_path: Path) -> None:
    folder = tmp_path / "experiments"
    write(folder), write(folder, "winter", 1_800, 7_200)
    server, _ = generation_server(tmp_path, BASIS, experiments=folder)
    with pytest.raises(RuntimeError, match="winter starts before autumn ends"):
        server.start()
