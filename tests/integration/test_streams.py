"""What a subscription tells of its lag, on real brokers."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from uuid import uuid4

import pytest

from slop.kafka.group_lag import GroupLag
from slop.kafka.subscription import Subscription
from slop.kafka.topics import SIGNALS, Topic
from slop.settings import CommonSettings
from tests.basis import random_basis
from tests.collectors import read_all
from tests.learners import publish, wait_until
from tests.samples import sample
from tests.servers import KafkaServer
from tests.signals import a_signal

BASIS = random_basis()


@pytest.fixture(params=["kafka_bootstrap", "apache_kafka"])
def bootstrap(request: pytest.FixtureRequest) -> str:
    broker = request.getfixturevalue(request.param)
    return broker if isinstance(broker, str) else broker.bootstrap


@pytest.fixture
def group() -> str:
    return f"lag-{uuid4().hex[:8]}"


@pytest.fixture
def subscription(bootstrap: str, group: str) -> Iterator[Subscription]:
    settings = CommonSettings(kafka_bootstrap=bootstrap)
    with closing(Subscription(settings, group, [SIGNALS])) as subscription:
        yield subscription


def lag(group: str) -> float:
    return sample("slop_consumer_lag_records", group=group, topic=SIGNALS.name)


def send(bootstrap: str, count: int, users: int) -> None:
    publish(bootstrap, [a_signal(BASIS, offset, user=f"user{offset % users}") for offset in range(count)])


def read_up(subscription: Subscription, records: int) -> None:
    """Read and commit so many records."""
    read = 0

    def all_read() -> bool:
        nonlocal read
        if polled := subscription.poll(0.2, 500):
            subscription.commit()
        read += len(polled)
        return read == records

    wait_until(all_read)


def test_lag_is_there_before_the_first_poll(subscription: Subscription, group: str) -> None:
    assert subscription
    assert lag(group) == 0


def test_none_of_many_members_that_join_at_once_is_left_without_partitions(apache_kafka: KafkaServer) -> None:
    def join(member: int) -> None:
        settings = CommonSettings(kafka_bootstrap=apache_kafka.bootstrap)
        with closing(Subscription(settings, f"joined-{member}-{uuid4().hex[:8]}", [SIGNALS])) as subscription:
            wait_until(lambda: bool(subscription.poll(0.2, 1)))

    send(apache_kafka.bootstrap, 8, users=8)
    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(join, range(18))) == [None] * 18


def test_what_was_polled_is_behind_until_it_is_committed(
    bootstrap: str, subscription: Subscription, group: str
) -> None:
    send(bootstrap, 40, users=40)
    total, polled = len(read_all(bootstrap, SIGNALS)), 0

    def all_polled() -> bool:
        nonlocal polled
        records = subscription.poll(0.2, 7)
        polled += len(records)
        # Partitions are fetched one after the other, and counted from then on.
        assert len(records) <= lag(group) <= total - polled + len(records)
        return polled == total

    wait_until(all_polled)
    assert lag(group) > 0
    subscription.commit()
    assert lag(group) == 0


def test_the_lag_of_a_group_is_told_to_who_is_no_member(bootstrap: str, subscription: Subscription, group: str) -> None:
    send(bootstrap, 30, users=30)
    with closing(GroupLag(CommonSettings(kafka_bootstrap=bootstrap), group, SIGNALS)) as lag_of_group:
        total = len(read_all(bootstrap, SIGNALS))
        wait_until(lambda: lag_of_group.behind(lag_of_group.ends()) == total)
        ends = lag_of_group.ends()
        send(bootstrap, 5, users=5)
        read_up(subscription, total + 5)
        assert lag_of_group.behind(ends) == 0


def test_lag_grows_with_what_is_written_and_falls_with_what_is_done(
    bootstrap: str, subscription: Subscription, group: str
) -> None:
    send(bootstrap, 10, users=10)
    read_up(subscription, len(read_all(bootstrap, SIGNALS)))
    send(bootstrap, 60, users=1)
    wait_until(lambda: subscription.poll(0.2, 1) != [])
    assert lag(group) == 60
    subscription.commit()
    assert lag(group) == 59
    read_up(subscription, 59)
    assert lag(group) == 0


def test_a_group_is_not_behind_in_a_topic_that_is_not_there(bootstrap: str, group: str) -> None:
    nowhere = Topic(f"nowhere-{group}", 1)
    with closing(GroupLag(CommonSettings(kafka_bootstrap=bootstrap), group, nowhere)) as lag_of_group:
        assert lag_of_group.behind(lag_of_group.ends()) == 0


def test_a_group_is_moved_to_the_beginning_and_to_the_end(bootstrap: str, group: str) -> None:
    send(bootstrap, 10, users=10)
    total = len(read_all(bootstrap, SIGNALS))
    with closing(GroupLag(CommonSettings(kafka_bootstrap=bootstrap), group, SIGNALS)) as lag_of_group:
        lag_of_group.skip()
        assert lag_of_group.behind(lag_of_group.ends()) == 0
        lag_of_group.rewind()
        assert lag_of_group.behind(lag_of_group.ends()) == total
