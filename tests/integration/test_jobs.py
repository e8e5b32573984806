"""A real Celery worker and a real beat on a real Redis."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from redis import Redis

from jobs.app import create_app
from jobs.names import CENSUS, FIT_BASIS, FIT_FACTORS, HEAVY, LIGHT, SNAPSHOT_PROFILES
from jobs.settings import JobsSettings
from jobs.snapshot_file import read_snapshot
from learner.learning import Learner
from slop.basis import Basis
from slop.kafka.brokers import create_topics
from slop.kafka.topics import encode
from slop.redis.crowd import crowd_key
from slop.redis.parked import Parked
from slop.redis.parking import Parking
from slop.redis.profiles import Profiles
from slop.v1.interaction_pb2 import Rejected
from tests.basis import random_basis
from tests.featurizers import BOUNDS, interaction
from tests.jobs import JobsProcess, command, jobs_settings
from tests.learners import wait_until
from tests.posts import people_posts, publish_posts
from tests.servers import KafkaServer, redis_server
from tests.signals import DAY_MS, a_signal
from tests.tiny_embedder import save_tiny_embedder
from tests.tiny_model import save_tiny_model
from training import CATALOGUE

BASIS = random_basis()
PRIOR = BASIS.prior(variance=1.0, bias_variance=0.5, forgetting=0.998)
WINDOW_MS = 7 * DAY_MS


def learn(redis: Redis, users: list[str]) -> None:
    learner = Learner(Profiles(redis, BASIS.version, WINDOW_MS), BASIS, PRIOR, WINDOW_MS)
    learner.learn([encode(a_signal(BASIS, offset, user=user)) for offset, user in enumerate(users)])


@pytest.fixture
def settings(redis_client: Redis, redis_url: str, tmp_path: Path) -> JobsSettings:
    del redis_client  # it has emptied Redis
    BASIS.save(tmp_path / "basis")
    return jobs_settings(tmp_path, redis_url, census_every_s=3_600)


@pytest.fixture
def worker(settings: JobsSettings, tmp_path: Path) -> Iterator[JobsProcess]:
    process = JobsProcess("worker", settings, tmp_path)
    yield process
    process.stop()


@pytest.fixture
def beat(settings: JobsSettings, tmp_path: Path) -> Iterator[JobsProcess]:
    process = JobsProcess("beat", settings.model_copy(update={"census_every_s": 1}), tmp_path)
    yield process
    process.stop()


@pytest.fixture
def broker(settings: JobsSettings) -> Iterator[Redis]:
    with Redis.from_url(settings.broker_url, socket_timeout=5) as client:
        yield client


def succeeded(worker: JobsProcess, task: str) -> float:
    return worker.metric(f'slop_jobs_total{{outcome="success",task="{task}"}}')


def test_a_worker_that_starts_counts_the_profiles_and_makes_up_for_a_missed_snapshot(
    worker: JobsProcess, redis_client: Redis, settings: JobsSettings
) -> None:
    learn(redis_client, ["ann", "bob", "bob", "bob", "bob"])
    worker.start()
    wait_until(lambda: succeeded(worker, CENSUS) == succeeded(worker, SNAPSHOT_PROFILES) == 1, timeout_s=120)
    assert worker.metric('slop_profiles{interactions="1-3"}') == 1
    assert worker.metric('slop_profiles{interactions="4-7"}') == 1
    assert worker.metric("slop_snapshot_profiles") == 2
    assert len(list(settings.snapshots_dir.iterdir())) == 1
    shares = redis_client.get(crowd_key(BASIS.version, "default"))
    assert isinstance(shares, bytes)
    assert np.frombuffer(shares, "<f4").sum() == pytest.approx(1)


def test_a_worker_that_starts_again_shows_the_snapshot_of_before_and_takes_no_other(
    worker: JobsProcess, redis_client: Redis, settings: JobsSettings
) -> None:
    learn(redis_client, ["ann"])
    worker.start()
    wait_until(lambda: succeeded(worker, SNAPSHOT_PROFILES) == 1, timeout_s=120)
    taken_at = worker.metric("slop_snapshot_timestamp_seconds")
    worker.stop()
    worker.start()
    wait_until(lambda: succeeded(worker, CENSUS) == 1, timeout_s=120)
    assert worker.metric("slop_snapshot_timestamp_seconds") == pytest.approx(taken_at, abs=0.001)
    assert worker.metric("slop_snapshot_profiles") == 1
    assert succeeded(worker, SNAPSHOT_PROFILES) == 0


def test_a_job_asked_for_by_hand_is_done_and_its_result_printed(
    worker: JobsProcess, redis_client: Redis, settings: JobsSettings
) -> None:
    worker.start()
    learn(redis_client, ["ann", "bob"])
    like = interaction("unknown")
    parked = Parked.of(like, Rejected(payload=encode(like)), encode(like))
    Parking(redis_client, BASIS, BOUNDS).park([parked], for_features=False)
    done = command(settings, "run", SNAPSHOT_PROFILES)
    result = json.loads(done.stdout)
    assert result["profiles"] == 2
    header, _ = read_snapshot(Path(result["path"]))
    assert list(header.parked) == [encode(like)]


def test_a_job_that_fails_is_told_with_its_reason_and_counted(worker: JobsProcess, settings: JobsSettings) -> None:
    worker.start()
    done = command(settings, "run", FIT_BASIS)
    assert done.returncode == 1
    assert "fit_basis failed: SLOP_MODEL names no base model" in done.stderr
    assert worker.metric(f'slop_jobs_total{{outcome="failure",task="{FIT_BASIS}"}}') == 1


def test_factors_that_nothing_can_be_learned_for_are_refused_with_the_reason(
    settings: JobsSettings, fresh_kafka: KafkaServer, tmp_path: Path
) -> None:
    create_topics(fresh_kafka.bootstrap)
    reachable = settings.model_copy(update={"kafka_bootstrap": fresh_kafka.bootstrap})
    worker = JobsProcess("worker", reachable, tmp_path)
    worker.start()
    try:
        done = command(reachable, "run", FIT_FACTORS)
    finally:
        worker.stop()
    assert done.returncode == 1
    assert "fit_factors failed: refused: 0 and 0 held-out readers" in done.stderr
    assert not list((settings.bases_dir / ".building").iterdir())


def test_jobs_wait_where_they_are_seen_until_there_is_a_worker(
    settings: JobsSettings, broker: Redis, tmp_path: Path
) -> None:
    create_app(settings).send_task(FIT_BASIS)
    light = JobsProcess("worker", settings.model_copy(update={"worker_queues": LIGHT}), tmp_path)
    light.start()
    try:
        assert light.metric(f'slop_jobs_waiting{{queue="{HEAVY}"}}') == 1
        assert light.metric(f'slop_jobs_waiting{{queue="{LIGHT}"}}') == 0
    finally:
        light.stop()
    assert broker.llen(HEAVY) == 1


def test_messages_that_are_not_json_are_not_read(worker: JobsProcess, settings: JobsSettings) -> None:
    pickling = create_app(settings)
    pickling.conf.update(accept_content=["json", "pickle"])
    pickling.send_task(CENSUS, serializer="pickle")
    worker.start()
    wait_until(lambda: "ContentDisallowed" in worker.log.read_text(), timeout_s=120)
    wait_until(lambda: succeeded(worker, CENSUS) == 1, timeout_s=120)  # its own, at the start


def test_a_worker_and_a_beat_outlive_their_redis(tmp_path: Path) -> None:
    server, url = redis_server(tmp_path)
    BASIS.save(tmp_path / "basis")
    settings = jobs_settings(tmp_path, url, census_every_s=1)
    worker, beat = JobsProcess("worker", settings, tmp_path), JobsProcess("beat", settings, tmp_path)
    server.start()
    try:
        worker.start()
        beat.start()
        server.kill()
        for process in (worker, beat):
            wait_until(lambda url=process.url: httpx.get(f"{url}/readyz", timeout=5).status_code == 503, timeout_s=120)
        assert httpx.get(f"{worker.url}/metrics", timeout=5).status_code == 200
        server.start()
        before = succeeded(worker, CENSUS)
        wait_until(lambda: succeeded(worker, CENSUS) > before + 1, timeout_s=120)
    finally:
        beat.stop()
        worker.stop()
        server.stop()


def test_a_worker_and_a_beat_that_cannot_write_are_not_ready(
    worker: JobsProcess, beat: JobsProcess, redis_client: Redis
) -> None:
    worker.start()
    beat.start()
    redis_client.config_set("maxmemory", 1)
    try:
        for process, check in ((worker, "redis"), (worker, "broker"), (beat, "broker")):
            wait_until(lambda process=process, check=check: "maxmemory" in readiness(process)[check], timeout_s=120)
    finally:
        redis_client.config_set("maxmemory", 0)
    for process in (worker, beat):
        wait_until(lambda process=process: set(readiness(process).values()) == {"ok"}, timeout_s=120)


def test_a_worker_that_lets_jobs_wait_is_not_ready_until_it_takes_them(settings: JobsSettings, tmp_path: Path) -> None:
    worker = JobsProcess("worker", settings.model_copy(update={"stalled_s": 1}), tmp_path)
    worker.start()
    try:
        with create_app(settings) as app:
            app.control.cancel_consumer(LIGHT)
            app.send_task(CENSUS)
            wait_until(lambda: readiness(worker)["progress"].startswith("Stalled"), timeout_s=120)
            assert httpx.get(f"{worker.url}/readyz", timeout=5).status_code == 503
            app.control.add_consumer(LIGHT)
            wait_until(lambda: readiness(worker)["progress"] == "ok", timeout_s=120)
    finally:
        worker.stop()


def readiness(process: JobsProcess) -> dict[str, str]:
    """What /readyz says of each check."""
    checks: dict[str, str] = httpx.get(f"{process.url}/readyz", timeout=5).json()["checks"]
    return checks


def test_beat_sends_jobs_and_remembers_across_restarts_when_it_did(
    beat: JobsProcess, broker: Redis, settings: JobsSettings
) -> None:
    beat.start()
    wait_until(lambda: broker.llen(LIGHT) >= 2, timeout_s=120)
    assert httpx.get(f"{beat.url}/readyz", timeout=5).json()["checks"] == {"broker": "ok", "beat": "ok"}
    beat.stop()
    assert any(path.name.startswith("beat-schedule") for path in settings.jobs_dir.iterdir())
    sent = broker.llen(LIGHT)
    beat.start()
    wait_until(lambda: broker.llen(LIGHT) > sent, timeout_s=120)


@pytest.fixture
def trainable(settings: JobsSettings, fresh_kafka: KafkaServer, tmp_path: Path) -> JobsSettings:
    """Settings with a model, a catalogue and a log from which a basis is built in seconds."""
    save_tiny_model(tmp_path / "model")
    save_tiny_embedder(tmp_path / "embedder")
    catalogue = tmp_path / "posts.jsonl"
    posts = CATALOGUE.read_text().splitlines(keepends=True)
    catalogue.write_text("".join(posts[:60]))
    publish_posts(fresh_kafka.bootstrap, people_posts("early", 30))
    places = {"model": str(tmp_path / "model"), "catalogue": catalogue, "kafka_bootstrap": fresh_kafka.bootstrap}
    places |= {"embedder": str(tmp_path / "embedder")}
    return settings.model_copy(update=places)


def test_a_build_that_the_workers_end_interrupts_is_resumed_by_the_next_worker_with_the_same_posts(
    trainable: JobsSettings, broker: Redis, tmp_path: Path
) -> None:
    worker = JobsProcess("worker", trainable, tmp_path)
    in_use = {path: path.read_bytes() for path in (tmp_path / "basis").iterdir()}
    result = create_app(trainable).send_task(FIT_BASIS, kwargs={"prompts": 2, "rounds": [150, 2]})
    work = trainable.bases_dir / ".building" / result.id
    worker.start()
    try:
        wait_until((work / "checkpoint.pt").exists, timeout_s=120)
        wait_until(lambda: result.state == "PROGRESS", timeout_s=120)
        worker.stop()
        assert broker.llen(HEAVY) == 1
        publish_posts(trainable.kafka_bootstrap, people_posts("late", 30))
        worker.start()
        built = result.get(timeout=600)
    finally:
        worker.stop()
    basis = Basis.load(Path(built["folder"]))
    assert (basis.version, basis.size) == (built["basis"], built["prompts"]) == (Path(built["folder"]).name, 2)
    assert basis.built["posts"] == 90
    assert broker.llen(HEAVY) == 0
    assert {path: path.read_bytes() for path in (tmp_path / "basis").iterdir()} == in_use
    assert not list(work.parent.iterdir())
