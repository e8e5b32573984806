"""A topic that is lost and created anew is another log, told by real brokers."""

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from uuid import uuid4

import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata, TopicPartition

from slop.kafka.brokers import create_topics
from slop.kafka.subscription import Subscription
from slop.kafka.topics import SIGNALS, Topic
from slop.settings import CommonSettings
from tests.learners import wait_until
from tests.samples import sample
from tests.servers import KafkaServer

HERE = TopicPartition(SIGNALS.name, 0)
LEAKED = "unclosed <socket"  # by kafka-python 3.0.12, which forgets sockets of connections that failed

pytestmark = pytest.mark.filterwarnings(f"ignore:{LEAKED}:ResourceWarning")


def send(bootstrap: str, *values: str, topic: Topic = SIGNALS) -> None:
    """Write records to partition 0."""
    producer = KafkaProducer(bootstrap_servers=bootstrap)
    try:
        for value in values:
            producer.send(topic.name, value=value.encode(), partition=0).get(timeout=30)
    finally:
        producer.close(timeout=5)


def read(subscription: Subscription, count: int) -> list[tuple[str, int, int]]:
    """Value, offset and log epoch of the next `count` records, however often the broker is away meanwhile."""
    found: list[tuple[str, int, int]] = []

    def all_read() -> bool:
        try:
            records = subscription.poll(0.2, 500)
        except KafkaError:
            return False
        values = ((r.value or b"").decode(errors="replace") for r in records)  # other tests' records are protobuf
        found.extend((value, r.offset, subscription.epoch(r.topic)) for value, r in zip(values, records, strict=True))
        return len(found) >= count

    wait_until(all_read)
    return found


def commit(bootstrap: str, group: str, offset: int, note: str = "") -> None:
    """Commit an offset of partition 0 for a group that has no members."""
    with closing(KafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)) as consumer:
        consumer.commit({HERE: OffsetAndMetadata(offset, note, -1)}, timeout_ms=30_000)


def recreate(bootstrap: str, topic: Topic) -> None:
    """Delete a topic, and create it again once it is gone."""
    with closing(KafkaAdminClient(bootstrap_servers=bootstrap)) as admin:
        admin.delete_topics([topic.name])
        wait_until(lambda: topic.name not in admin.list_topics())
        wait_until(lambda: topic.name in create_topics(bootstrap))
        admin.wait_for_topics([topic.name])


def committed(subscription: Subscription) -> bool:
    """Try to commit what was polled; a group that is forming anew does not let its members."""
    try:
        subscription.commit()
    except KafkaError:
        subscription.poll(0.2, 1)
        return False
    return True


@pytest.fixture
def subscribed() -> Iterator[Callable[..., Subscription]]:
    """Makes subscriptions, of one group unless told otherwise, that are closed afterwards."""
    group, made = f"epochs-{uuid4().hex[:8]}", list[Subscription]()

    def subscribe(bootstrap: str, topic: Topic = SIGNALS) -> Subscription:
        made.append(Subscription(CommonSettings(kafka_bootstrap=bootstrap), group, [topic]))
        return made[-1]

    yield subscribe
    for subscription in made:
        subscription.close()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", LEAKED, ResourceWarning)
        gc.collect()


@pytest.fixture(params=["kafka_bootstrap", "apache_kafka"])
def bootstrap(request: pytest.FixtureRequest) -> str:
    broker = request.getfixturevalue(request.param)
    return broker if isinstance(broker, str) else broker.bootstrap


def test_a_log_keeps_its_epoch_for_whoever_reads_it(bootstrap: str, subscribed: Callable[..., Subscription]) -> None:
    create_topics(bootstrap)
    send(bootstrap, "one")
    first = subscribed(bootstrap)
    epochs = {epoch for _, _, epoch in read(first, 1)}
    first.close()
    second = subscribed(bootstrap)
    assert {epoch for _, _, epoch in read(second, 1)} == epochs
    assert len(epochs) == 1
    assert 0 < epochs.pop() < 2**32


def test_before_the_first_poll_no_epoch_is_known(subscribed: Callable[..., Subscription]) -> None:
    with pytest.raises(KeyError):
        subscribed("127.0.0.1:1").epoch(SIGNALS.name)


@pytest.mark.parametrize("written", [2, 5])
def test_a_broker_that_comes_back_empty_is_another_log_whether_it_has_fewer_records_or_more(
    fresh_kafka: KafkaServer, subscribed: Callable[..., Subscription], written: int
) -> None:
    create_topics(fresh_kafka.bootstrap)
    send(fresh_kafka.bootstrap, "a", "b", "c")
    subscription = subscribed(fresh_kafka.bootstrap)
    old = read(subscription, 3)
    wait_until(lambda: committed(subscription))
    fresh_kafka.kill()
    fresh_kafka.start()
    create_topics(fresh_kafka.bootstrap)
    send(fresh_kafka.bootstrap, *(f"new {number}" for number in range(written)))
    new = read(subscription, written)
    assert [(value, offset) for value, offset, _ in new] == [(f"new {number}", number) for number in range(written)]
    assert len({epoch for _, _, epoch in old}) == len({epoch for _, _, epoch in new}) == 1
    assert old[0][2] != new[0][2]


@pytest.mark.parametrize("written", [2, 5])
@pytest.mark.parametrize("commits", [True, False])
def test_a_topic_that_is_deleted_and_created_again_is_read_from_its_beginning_by_who_reads_it(
    apache_kafka: KafkaServer, subscribed: Callable[..., Subscription], written: int, commits: bool
) -> None:
    broker = apache_kafka.bootstrap
    create_topics(broker)
    recreate(broker, SIGNALS)
    send(broker, "a", "b", "c")
    subscription = subscribed(broker)
    (_, _, old), *_ = read(subscription, 3)
    if commits:
        wait_until(lambda: committed(subscription))
    recreate(broker, SIGNALS)
    send(broker, *(f"new {number}" for number in range(written)))
    new = read(subscription, written)
    assert [(value, offset) for value, offset, _ in new] == [(f"new {number}", number) for number in range(written)]
    assert {epoch for _, _, epoch in new} != {old}


def test_what_was_committed_of_a_former_log_says_nothing_of_the_next(
    apache_kafka: KafkaServer, subscribed: Callable[..., Subscription]
) -> None:
    broker = apache_kafka.bootstrap
    create_topics(broker)
    recreate(broker, SIGNALS)
    send(broker, "a", "b", "c")
    before = subscribed(broker)
    (_, _, epoch), *_ = read(before, 3)
    before.close()
    recreate(broker, SIGNALS)
    send(broker, "d", "e", "f", "g")
    commit(broker, before.group, 3, note=f"{epoch:08x}")  # as who has not seen yet that it is another log
    after = subscribed(broker)
    assert [value for value, _, _ in read(after, 4)] == ["d", "e", "f", "g"]
    assert sample("slop_consumer_rewinds_total", group=after.group, topic=SIGNALS.name, reason="log") == 1


def test_records_that_were_deleted_before_they_were_read_are_counted(
    apache_kafka: KafkaServer, subscribed: Callable[..., Subscription]
) -> None:
    broker = apache_kafka.bootstrap
    create_topics(broker)
    recreate(broker, SIGNALS)
    send(broker, *"abcdef")
    subscription = subscribed(broker)
    commit(broker, subscription.group, 2)
    with closing(KafkaAdminClient(bootstrap_servers=broker)) as admin:
        admin.delete_records({HERE: 5})
    assert [value for value, _, _ in read(subscription, 1)] == ["f"]
    assert sample("slop_consumer_skipped_records_total", group=subscription.group, topic=SIGNALS.name) == 3


def test_what_is_done_and_not_committed_is_shown_beside_the_lag(
    bootstrap: str, subscribed: Callable[..., Subscription]
) -> None:
    create_topics(bootstrap)
    send(bootstrap, "a", "b", "c")
    subscription = subscribed(bootstrap)
    offsets: dict[TopicPartition, int] = {}

    def shown(name: str) -> float:
        return sample(f"slop_consumer_{name}_records", group=subscription.group, topic=SIGNALS.name)

    def all_done() -> bool:
        subscription.poll(0.2, 500)
        offsets.update(subscription.done())
        return shown("uncommitted") >= 3 and shown("lag") == 0

    wait_until(all_done)
    subscription.commit(offsets)
    assert shown("uncommitted") == 0
