"""Real servers for tests, on free loopback ports; the fault suite has the same."""

from pathlib import Path

from infra.local.servers import (
    HOST,
    ApacheKafka,
    KafkaServer,
    Server,
    apache_kafka_home,
    redis_server,
    tansu_server,
)

__all__ = [
    "HOST",
    "KafkaServer",
    "Server",
    "apache_kafka_home",
    "apache_kafka_server",
    "redis_server",
    "tansu_server",
]


def apache_kafka_server(home: Path, folder: Path) -> KafkaServer:
    """An Apache Kafka that is not started yet; started again after a kill it has the data it had.

    As brokers do unless they are told otherwise, it creates topics that are asked for, with its own settings.
    """
    server = ApacheKafka(home, folder)
    with (folder / "data" / "server.properties").open("a") as properties:
        properties.write("auto.create.topics.enable=true\n")
    return server
