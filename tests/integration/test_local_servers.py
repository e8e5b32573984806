"""The local entry points of Redis and Kafka, as processes."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from infra.local.ports import free_port, is_open
from infra.local.ready import kafka_answers, redis_answers
from tests.servers import HOST, Server, apache_kafka_home

Start = Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `python -m MODULE` with this environment, its data in the test's folder; ended with the test."""
    servers: list[Server] = []

    def start_one(module: str, answers: Callable[[], bool], **environment: str) -> Server:
        defaults = {"SLOP_RUN_DIR": str(tmp_path), "KAFKA_HOME": "", "PYTHONPATH": _path()}
        server = Server([sys.executable, "-m", module], answers, tmp_path / f"{module}.log", defaults | environment)
        servers.append(server)
        server.start()
        return server

    yield start_one
    for server in servers:
        server.kill()


def _path() -> str:
    return os.pathsep.join(sys.path)


def test_redis_starts_stops_and_frees_its_port(start: Start) -> None:
    port = free_port()
    server = start("infra.local.redis", lambda: redis_answers(HOST, port), SLOP_REDIS_URL=f"redis://{HOST}:{port}/0")
    assert is_open(HOST, port)
    server.stop()
    assert not is_open(HOST, port)


def test_redis_never_evicts_a_profile(start: Start) -> None:
    port = free_port()
    start("infra.local.redis", lambda: redis_answers(HOST, port), SLOP_REDIS_URL=f"redis://{HOST}:{port}/0")
    with Redis(host=HOST, port=port) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


@pytest.mark.parametrize(("kafka_home", "kept"), [("", None), ("/a/durable/kafka", b"kept")])
def test_redis_outlives_a_restart_only_beside_a_durable_kafka(
    start: Start, kafka_home: str, kept: bytes | None
) -> None:
    port = free_port()
    where = {"SLOP_REDIS_URL": f"redis://{HOST}:{port}/0", "KAFKA_HOME": kafka_home}
    server = start("infra.local.redis", lambda: redis_answers(HOST, port), **where)
    with Redis(host=HOST, port=port) as client:
        client.set("profile", b"kept")
    server.stop()
    start("infra.local.redis", lambda: redis_answers(HOST, port), **where)
    with Redis(host=HOST, port=port) as client:
        assert client.get("profile") == kept


def test_tansu_says_that_it_is_for_development_and_in_memory(start: Start) -> None:
    port = free_port()
    server = start("infra.local.kafka", lambda: kafka_answers(HOST, port), SLOP_KAFKA_BOOTSTRAP=f"{HOST}:{port}")
    server.stop()
    assert not is_open(HOST, port)
    assert server.log.read_text().startswith("Tansu, a broker for development: ")


def test_apache_kafka_runs_from_its_home_with_its_data_in_the_run_folder(start: Start, tmp_path: Path) -> None:
    home = apache_kafka_home()
    if home is None:
        pytest.skip("KAFKA_HOME names no Apache Kafka, and none lies in ../shared/kafka")
    port = free_port()
    server = start(
        "infra.local.kafka",
        lambda: kafka_answers(HOST, port),
        KAFKA_HOME=str(home),
        SLOP_KAFKA_BOOTSTRAP=f"{HOST}:{port}",
        SLOP_KAFKA_CONTROLLER_PORT=str(free_port()),
    )
    server.stop()
    assert not is_open(HOST, port)
    assert (tmp_path / "kafka" / "log" / "meta.properties").is_file()
