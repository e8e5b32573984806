"""The servers that other tests stand on."""

from contextlib import closing

from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic
from redis import Redis

from tests.servers import KafkaServer


def _produce(bootstrap: str, topic: str, value: bytes) -> None:
    with closing(KafkaAdminClient(bootstrap_servers=bootstrap)) as admin:
        admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=-1)])
    with KafkaProducer(bootstrap_servers=bootstrap) as producer:
        producer.send(topic, value).get(timeout=10)


def _first(bootstrap: str, topic: str) -> bytes:
    consumer = KafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=10_000
    )
    try:
        return bytes(next(consumer).value)
    finally:
        consumer.close()


def test_redis_keeps_what_is_written(redis_client: Redis) -> None:
    redis_client.set("key", b"value")
    assert redis_client.get("key") == b"value"


def test_tansu_returns_what_was_produced(kafka_bootstrap: str) -> None:
    _produce(kafka_bootstrap, "servers.tansu", b"hello")
    assert _first(kafka_bootstrap, "servers.tansu") == b"hello"


def test_apache_kafka_has_its_records_after_a_kill(apache_kafka: KafkaServer) -> None:
    _produce(apache_kafka.bootstrap, "servers.apache", b"kept")
    apache_kafka.kill()
    apache_kafka.start()
    assert _first(apache_kafka.bootstrap, "servers.apache") == b"kept"
