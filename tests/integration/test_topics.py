"""Topics that are gone, at a broker that would create them in its own way: one partition, kept for a week."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.errors import KafkaError

from slop.kafka.brokers import create_topics
from slop.kafka.outbox import Outbox
from slop.kafka.publisher import NotPublished, Publisher, PublisherLimits
from slop.kafka.records import ProducerRecord
from slop.kafka.topics import INTERACTIONS, encode, key_of
from slop.settings import CommonSettings
from slop.v1.interaction_pb2 import Interaction
from tests.servers import KafkaServer
from tests.waiting import eventually

NAME = INTERACTIONS.name
INTERACTIONS_OF_MANY = [Interaction(event_id=f"e{number}", user_id=f"user{number}") for number in range(20)]
RECORDS = [ProducerRecord(INTERACTIONS, key_of(one), encode(one)) for one in INTERACTIONS_OF_MANY]


def by_a_worker(bootstrap: str, meanwhile: Callable[[], None]) -> None:
    outbox = Outbox(CommonSettings(kafka_bootstrap=bootstrap))

    def published() -> bool:
        try:
            outbox.publish(RECORDS)
        except KafkaError:
            return False
        return True

    eventually(published)
    meanwhile()
    eventually(published)
    outbox.close()


def by_a_service(bootstrap: str, meanwhile: Callable[[], None]) -> None:
    async def published(publisher: Publisher) -> None:
        while True:
            try:
                return await publisher.publish(RECORDS)
            except NotPublished:
                await asyncio.sleep(0.1)

    async def both() -> None:
        publisher = Publisher(bootstrap, "test", PublisherLimits(queue_bytes=2**20))
        publisher.start()
        try:
            async with asyncio.timeout(120):
                await published(publisher)
                await asyncio.to_thread(meanwhile)
                await published(publisher)
        finally:
            await asyncio.to_thread(publisher.close)

    asyncio.run(both())


def about(admin: Any) -> tuple[int, str]:
    """Partitions and retention of the topic."""
    [topic] = admin.describe_topics([NAME])
    configs = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, NAME)])
    return len(topic["partitions"]), configs["topic"][NAME]["retention.ms"]["value"]


@pytest.mark.parametrize("publish", [by_a_worker, by_a_service])
def test_a_topic_that_is_deleted_under_who_publishes_is_created_again_with_our_settings(
    apache_kafka: KafkaServer, publish: Callable[[str, Callable[[], None]], None]
) -> None:
    create_topics(apache_kafka.bootstrap)
    with closing(KafkaAdminClient(bootstrap_servers=apache_kafka.bootstrap)) as admin:

        def delete() -> None:
            admin.delete_topics([NAME])
            eventually(lambda: NAME not in admin.list_topics())

        before = about(admin)
        publish(apache_kafka.bootstrap, delete)
        assert about(admin) == before == (INTERACTIONS.partitions, INTERACTIONS.config["retention.ms"])
