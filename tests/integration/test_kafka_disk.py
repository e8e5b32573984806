"""What brokers say of their disks, and what of that is shown."""

import pytest
from kafka.errors import KafkaError

from infra.local.ports import free_port
from jobs import metrics
from jobs.kafka_disk import disk_use
from slop.kafka.brokers import create_topics
from tests.basis import random_basis
from tests.learners import publish
from tests.samples import sample
from tests.servers import KafkaServer
from tests.signals import a_signal


def test_a_broker_tells_how_full_its_disk_is(apache_kafka: KafkaServer) -> None:
    create_topics(apache_kafka.bootstrap)
    publish(apache_kafka.bootstrap, [a_signal(random_basis(), offset) for offset in range(10)])
    ((broker, use),) = disk_use(apache_kafka.bootstrap).items()
    assert use.log > 0
    assert use.total is not None
    assert use.usable is not None
    assert 0 < use.usable <= use.total
    metrics.show_disk_use({broker: use})
    assert sample("slop_kafka_disk_bytes", broker=str(broker), kind="log") == use.log
    assert sample("slop_kafka_disk_bytes", broker=str(broker), kind="usable") == use.usable


def test_a_broker_that_does_not_tell_is_an_error_that_the_census_expects(kafka_bootstrap: str) -> None:
    with pytest.raises(KafkaError):
        disk_use(kafka_bootstrap)


def test_a_broker_that_is_away_is_the_same() -> None:
    with pytest.raises(KafkaError):
        disk_use(f"127.0.0.1:{free_port()}")
