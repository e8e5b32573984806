"""Interactions wait until the texts that are older are known, whichever replica reads them."""

import threading
from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.structs import OffsetAndMetadata, TopicPartition

from featurizer.post_texts import TextsRead
from featurizer.settings import FeaturizerSettings
from kit.worker import Stopped
from slop.kafka.brokers import create_topics
from slop.kafka.topics import POSTS, encode, key_of
from slop.v1.post_pb2 import Post
from tests.learners import wait_until


@pytest.fixture
def settings(kafka_bootstrap: str) -> FeaturizerSettings:
    create_topics(kafka_bootstrap)
    return FeaturizerSettings(_env_file=None, embedder="none", kafka_bootstrap=kafka_bootstrap)


@pytest.fixture
def group() -> str:
    return f"texts-{uuid4().hex[:8]}"


@pytest.fixture
def replica(settings: FeaturizerSettings, group: str) -> Iterator[KafkaConsumer]:
    consumer = KafkaConsumer(bootstrap_servers=settings.kafka_bootstrap, group_id=group, enable_auto_commit=False)
    with closing(consumer):
        yield consumer


def publish(bootstrap: str) -> dict[int, int]:
    """Publish posts to all partitions; returns where these end."""
    posts = [Post(tenant="t", post_id=uuid4().hex, text="rain") for _ in range(200)]
    with closing(KafkaProducer(bootstrap_servers=bootstrap)) as producer:
        sent = [producer.send(POSTS.name, key=key_of(post), value=encode(post)) for post in posts]
        written = [future.get(timeout=30) for future in sent]
    return {record.partition: record.offset + 1 for record in written}


def read(replica: KafkaConsumer, ends: dict[int, int]) -> None:
    """Have partitions read up to their ends."""
    at = {TopicPartition(POSTS.name, number): OffsetAndMetadata(end, "", -1) for number, end in ends.items()}
    replica.assign(list(at))
    replica.commit(at)


def test_texts_are_read_when_every_replica_has_read_its_share(
    settings: FeaturizerSettings, group: str, replica: KafkaConsumer
) -> None:
    ends = publish(settings.kafka_bootstrap)
    assert len(ends) == POSTS.partitions
    texts, stop = TextsRead(settings, group), threading.Event()
    waiting = threading.Thread(target=texts.wait, args=(stop,))
    waiting.start()
    read(replica, {number: end for number, end in ends.items() if number < 4})
    waiting.join(3)
    assert not texts.done
    read(replica, {number: end for number, end in ends.items() if number >= 4})
    wait_until(lambda: texts.done)
    waiting.join(20)


def test_a_group_with_nothing_to_read_waits_for_nothing(
    settings: FeaturizerSettings, group: str, replica: KafkaConsumer
) -> None:
    read(replica, publish(settings.kafka_bootstrap))
    texts = TextsRead(settings, group)
    texts.wait(threading.Event())
    assert texts.done


def test_a_stop_ends_the_waiting_for_texts(settings: FeaturizerSettings, group: str) -> None:
    publish(settings.kafka_bootstrap)
    texts, stop = TextsRead(settings, group), threading.Event()
    threading.Timer(1, stop.set).start()
    with pytest.raises(Stopped):
        texts.wait(stop)
    assert not texts.done
