"""Reaching the brokers: their addresses, whether one listens, and the topics created as they should be."""

import socket
from contextlib import suppress
from typing import Final

from kafka.admin import KafkaAdminClient, NewTopic
from kafka.cluster import ClusterMetadata
from kafka.errors import KafkaConnectionError, TopicAlreadyExistsError

from slop.kafka.topics import TOPICS, Topic

CONNECT_MS: Final = 3_000

# A broker would create topics that are asked for with its own settings: one partition, which is kept for a week.
# kafka-python 3.0.12 has an option of its clients for that, which it passes on to nobody.
ClusterMetadata.DEFAULT_CONFIG["allow_auto_create_topics"] = False


def addresses(bootstrap: str) -> list[str]:
    """`host:port` of each broker in a setting such as `host:port,host:port`."""
    return [address.strip() for address in bootstrap.split(",")]


def require_broker(bootstrap: str, timeout_s: float = 0.5) -> None:
    """Look whether a broker listens, which costs little; a client that fails to connect leaks a thread and its sockets.

    Raises:
        kafka.errors.KafkaConnectionError: none of the brokers `host:port,host:port` accepts a connection.
    """
    for address in addresses(bootstrap):
        host, _, port = address.rpartition(":")
        with suppress(OSError), socket.create_connection((host, int(port)), timeout_s):
            return
    raise KafkaConnectionError(f"no broker answers at {bootstrap}")


def create_topics(bootstrap: str, timeout_s: float = 10.0) -> list[str]:
    """Create the topics that are missing.

    Returns:
        The names of those that were created.

    Raises:
        kafka.errors.KafkaError: the brokers can't be reached or refuse.
    """
    require_broker(bootstrap)
    admin = KafkaAdminClient(bootstrap_servers=addresses(bootstrap), request_timeout_ms=int(timeout_s * 1000))
    try:
        missing = [topic for topic in TOPICS if topic.name not in set(admin.list_topics())]
        for topic in missing:
            _create(admin, topic)
        return [topic.name for topic in missing]
    finally:
        admin.close()


def _create(admin: KafkaAdminClient, topic: Topic) -> None:
    new = NewTopic(topic.name, num_partitions=topic.partitions, replication_factor=-1, topic_configs=topic.config)
    with suppress(TopicAlreadyExistsError):  # another service was faster
        admin.create_topics([new])
