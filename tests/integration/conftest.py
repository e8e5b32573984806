"""Real servers, each started once for all tests, on free loopback ports."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from slop.rollout.live import BasisRef
from tests.basis import random_basis
from tests.servers import KafkaServer, apache_kafka_home, apache_kafka_server, redis_server, tansu_server


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server, url = redis_server(tmp_path_factory.mktemp("redis"))
    server.start()
    yield url
    server.stop()


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url, socket_timeout=5) as client:
        client.flushall()
        yield client
        with suppress(RedisError):  # else the services that the next file starts begin with what this test has left
            client.flushall()


@pytest.fixture(scope="session")
def kafka_bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Tansu: topics live as long as the test session, so that tests tell their records apart by fresh ids."""
    server = tansu_server(tmp_path_factory.mktemp("tansu"))
    server.start()
    yield server.bootstrap
    server.stop()


@pytest.fixture
def fresh_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A Tansu of the test's own, with nothing in it; it may be killed, and has forgotten everything when restarted."""
    server = tansu_server(tmp_path_factory.mktemp("tansu"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def apache_kafka_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    home = apache_kafka_home()
    if home is None:
        pytest.skip("KAFKA_HOME names no Apache Kafka, and none lies in ../shared/kafka")
    server = apache_kafka_server(home, tmp_path_factory.mktemp("kafka"))
    yield server
    server.stop()


@pytest.fixture
def apache_kafka(apache_kafka_session: KafkaServer) -> KafkaServer:
    """A real Apache Kafka: `.kill()` it and `.start()` it on the same data; it runs when the test begins."""
    apache_kafka_session.start()
    return apache_kafka_session


@pytest.fixture
def refs(tmp_path: Path) -> list[BasisRef]:
    """Two bases in folders of this test."""
    folders = [tmp_path / name for name in ("first", "second")]
    for seed, folder in enumerate(folders):
        random_basis(seed=seed).save(folder)
    return [BasisRef.of(folder) for folder in folders]
