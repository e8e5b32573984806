"""A featurizer is ready while it gets on: on a real Redis that refuses writes, or hangs, and is well again."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import httpx
import pytest
from kafka import KafkaProducer
from redis import Redis

from infra.local.ports import free_port
from infra.local.ready import http_answers
from slop.kafka.topics import POSTS, encode, key_of
from slop.v1.post_pb2 import Post
from tests.basis import random_basis
from tests.featurizers import now_ms
from tests.servers import HOST, KafkaServer, Server, redis_server
from tests.tiny_embedder import save_tiny_embedder
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
WELL = {"redis": "ok", "kafka": "ok", "progress": "ok"}


@pytest.fixture
def redis_process(tmp_path: Path) -> Iterator[tuple[Server, Redis]]:
    """A Redis of this test alone, which runs."""
    server, url = redis_server(tmp_path)
    server.start()
    with Redis.from_url(url, socket_timeout=10) as redis:
        yield server, redis
    server.kill()


@pytest.fixture
def featurizer(redis_process: tuple[Server, Redis], fresh_kafka: KafkaServer, tmp_path: Path) -> Iterator[httpx.Client]:
    """A featurizer that is ready."""
    random_basis().save(tmp_path / "basis")
    port, address = free_port(), redis_process[1].connection_pool.connection_kwargs
    settings = {
        "basis_dir": tmp_path / "basis",
        "embedder": save_tiny_embedder(tmp_path / "embedder"),
        "kafka_bootstrap": fresh_kafka.bootstrap,
        "redis_url": f"redis://{address['host']}:{address['port']}/0",
        "featurizer_port": port,
        "stalled_s": 2,
    }
    chosen = {f"SLOP_{name.upper()}": str(value) for name, value in settings.items()}
    environment = os.environ | {"PYTHONPATH": str(ROOT / "services")} | chosen
    answers = partial(http_answers, f"http://{HOST}:{port}/readyz")
    server = Server([sys.executable, "-m", "featurizer"], answers, tmp_path / "featurizer.log", environment, 120)
    server.start()
    with httpx.Client(base_url=f"http://{HOST}:{port}", timeout=20) as client:
        yield client
    server.kill()


def checks(featurizer: httpx.Client) -> dict[str, str]:
    found: dict[str, str] = featurizer.get("/readyz").json()["checks"]
    return found


def test_a_redis_that_takes_no_writes_is_not_ready(
    featurizer: httpx.Client, redis_process: tuple[Server, Redis]
) -> None:
    _, redis = redis_process
    redis.config_set("maxmemory", 1)
    eventually(lambda: "maxmemory" in checks(featurizer)["redis"])
    assert featurizer.get("/readyz").status_code == 503
    redis.config_set("maxmemory", 0)
    eventually(lambda: checks(featurizer) == WELL)


def test_posts_that_wait_while_redis_hangs_are_no_progress(
    featurizer: httpx.Client, redis_process: tuple[Server, Redis], fresh_kafka: KafkaServer
) -> None:
    server, _ = redis_process
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        post = Post(post_id="p", tenant="default", text="a star shines", created_at_ms=now_ms())
        with closing(KafkaProducer(bootstrap_servers=fresh_kafka.bootstrap)) as producer:
            producer.send(POSTS.name, key=key_of(post), value=encode(post)).get(timeout=30)
        eventually(lambda: checks(featurizer)["progress"].startswith("Stalled: nothing done for"))
        assert featurizer.get("/readyz").status_code == 503
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    eventually(lambda: checks(featurizer) == WELL)
