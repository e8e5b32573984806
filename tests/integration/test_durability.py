"""Offsets are committed for what Redis has persisted, and gone back from where it has lost something; real servers."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from uuid import uuid4

import pytest
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.structs import TopicPartition
from redis import Redis

from slop.kafka.durability import DurableCommits, WhenLost
from slop.kafka.kept_offsets import kept_key
from slop.kafka.subscription import Subscription
from slop.kafka.topics import Topic
from slop.redis.persistence import OtherRun
from slop.settings import CommonSettings
from tests.learners import wait_until
from tests.servers import HOST, KafkaServer, Server, redis_server
from tests.waiting import eventually


class Numbers:
    """A topic of its own on a broker, with one partition."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap, self.topic = bootstrap, Topic(f"numbers-{uuid4().hex[:8]}", 1)
        with closing(KafkaAdminClient(bootstrap_servers=bootstrap)) as admin:
            admin.create_topics([NewTopic(self.topic.name, num_partitions=1, replication_factor=-1)])

    def send(self, first: int, count: int) -> None:
        """Write the numbers from `first` on."""
        producer = KafkaProducer(bootstrap_servers=self.bootstrap)
        try:
            for number in range(first, first + count):
                producer.send(self.topic.name, value=str(number).encode()).get(timeout=30)
        finally:
            producer.close(timeout=5)


class Summer:
    """A worker whose work is a set of numbers in Redis: what is lost, and what is done again, can be told from it."""

    def __init__(self, log: Numbers, group: str, redis: Redis, when_lost: WhenLost = WhenLost.BEGINNING) -> None:
        self.redis, self.partition = redis, TopicPartition(log.topic.name, 0)
        self.subscription = Subscription(CommonSettings(kafka_bootstrap=log.bootstrap), group, [log.topic])
        self.commits = DurableCommits(self.subscription, redis, when_lost, after_s=0.5)
        self.polled: list[int] = []
        self.again: list[int] = []

    def step(self) -> int:
        records = self.commits.poll(0.2, 100)
        numbers = [int(record.value or b"") for record in records]
        if numbers:
            self.commits.redis.sadd("numbers", *numbers)
            self.polled += numbers
            self.again += [
                number for number, record in zip(numbers, records, strict=True) if self.commits.was_read_before(record)
            ]
            self.commits.done()
        return len(numbers)

    def numbers(self) -> set[int]:
        return {int(number) for number in self.redis.smembers("numbers")}

    def committed(self) -> int:
        found = self.subscription.committed().get(self.partition)
        return (found and found.offset) or 0

    def work_until(self, done: Callable[[], bool]) -> None:
        def stepped() -> bool:
            self.step()
            return done()

        wait_until(stepped)

    def close(self) -> None:
        self.commits.close()
        self.subscription.close()

    def crash(self) -> None:
        """End as a killed process does, without committing what is done."""
        self.subscription.close()


class Fixture:
    """A broker, a Redis with an append-only file, and workers of one group."""

    def __init__(self, folder: Path, broker: str, stack: ExitStack) -> None:
        self.data, self.log, self.group = folder / "data", Numbers(broker), f"durable-{uuid4().hex[:8]}"
        self.server, self.url = redis_server(folder, self.data)
        self._stack, self._copy = stack, folder / "copy"
        stack.callback(self.server.stop)
        self.server.start()

    def client(self) -> Redis:
        return self._stack.enter_context(Redis.from_url(self.url, socket_timeout=5))

    def worker(self, when_lost: WhenLost = WhenLost.BEGINNING) -> Summer:
        made = Summer(self.log, self.group, self.client(), when_lost)
        self._stack.callback(made.subscription.close)
        return made

    def remember(self) -> None:
        """Keep what is on disk now."""
        shutil.copytree(self.data, self._copy)

    def lose_power(self) -> None:
        """Redis is gone, and comes back with what was on disk when it was remembered: all that came after is lost."""
        self.server.kill()
        shutil.rmtree(self.data)
        shutil.copytree(self._copy, self.data)
        self.server.start()

    def wipe(self) -> None:
        """Redis is gone, and comes back with nothing."""
        self.server.kill()
        shutil.rmtree(self.data)
        self.data.mkdir()
        self.server.start()


@pytest.fixture
def tansu(tmp_path: Path, fresh_kafka: KafkaServer) -> Iterator[Fixture]:
    with ExitStack() as stack:
        yield Fixture(tmp_path, fresh_kafka.bootstrap, stack)


@pytest.fixture
def apache(tmp_path: Path, apache_kafka: KafkaServer) -> Iterator[Fixture]:
    with ExitStack() as stack:
        yield Fixture(tmp_path, apache_kafka.bootstrap, stack)


def test_offsets_are_committed_once_they_are_on_disk_and_not_before(tansu: Fixture) -> None:
    worker = tansu.worker()
    worker.redis.config_set("appendfsync", "no")  # nothing is ever brought to disk
    tansu.log.send(0, 20)
    worker.work_until(lambda: len(worker.numbers()) == 20)
    for _ in range(10):
        worker.step()
    assert worker.committed() == 0
    worker.redis.config_set("appendfsync", "everysec")
    worker.redis.set("something", "to bring to disk")
    worker.work_until(lambda: worker.committed() == 20)
    worker.close()


def test_what_a_power_cut_takes_from_redis_is_done_again(tansu: Fixture) -> None:
    worker = tansu.worker()
    tansu.log.send(0, 10)
    worker.work_until(lambda: worker.committed() == 10)
    tansu.remember()
    tansu.log.send(10, 30)
    worker.work_until(lambda: len(worker.numbers()) == 40 and worker.committed() == 40)
    tansu.lose_power()
    assert worker.numbers() == set(range(10))
    worker.polled.clear()
    worker.work_until(lambda: worker.numbers() == set(range(40)) and worker.committed() == 40)
    assert worker.polled == list(range(10, 40))
    assert worker.again == list(range(10, 40))
    worker.close()


def test_who_is_started_again_beside_another_redis_goes_back_too(apache: Fixture) -> None:
    worker = apache.worker()
    apache.log.send(0, 10)
    worker.work_until(lambda: worker.committed() == 10)
    apache.remember()
    apache.log.send(10, 30)
    worker.work_until(lambda: len(worker.numbers()) == 40)
    worker.close()
    apache.lose_power()
    later = apache.worker()
    assert later.numbers() == set(range(10))
    later.work_until(lambda: later.numbers() == set(range(40)))
    assert later.polled == list(range(10, 40))
    later.close()


def test_a_crash_before_the_commit_loses_nothing(tansu: Fixture) -> None:
    worker = tansu.worker()
    worker.redis.config_set("appendfsync", "no")
    tansu.log.send(0, 10)
    worker.work_until(lambda: len(worker.numbers()) == 10)
    worker.crash()
    later = tansu.worker()
    later.work_until(lambda: later.polled == list(range(10)))
    assert later.again == list(range(10))
    tansu.log.send(10, 5)
    later.work_until(lambda: len(later.numbers()) == 15)
    assert later.again == list(range(10))
    later.close()


@pytest.mark.parametrize("when_lost", list(WhenLost))
def test_where_redis_has_lost_everything_all_is_read_again_or_it_stays(tansu: Fixture, when_lost: WhenLost) -> None:
    worker = tansu.worker(when_lost)
    tansu.log.send(0, 10)
    worker.work_until(lambda: worker.committed() == 10)
    tansu.wipe()
    tansu.log.send(10, 5)
    expected = set(range(15)) if when_lost is WhenLost.BEGINNING else set(range(10, 15))
    worker.work_until(lambda: worker.numbers() == expected and worker.committed() == 15)
    worker.close()


@pytest.mark.parametrize("when_lost", list(WhenLost))
def test_a_redis_that_is_emptied_within_its_run_is_noticed(tansu: Fixture, when_lost: WhenLost) -> None:
    worker = tansu.worker(when_lost)
    tansu.log.send(0, 10)
    worker.work_until(lambda: worker.committed() == 10)
    worker.redis.flushall()
    tansu.log.send(10, 5)
    expected = set(range(15)) if when_lost is WhenLost.BEGINNING else set(range(10, 15))
    worker.work_until(lambda: worker.numbers() == expected and worker.committed() == 15)
    worker.polled.clear()
    for _ in range(5):
        worker.step()
    assert worker.polled == []  # it has gone back once
    worker.close()


def test_a_redis_that_is_emptied_while_a_batch_is_under_way_is_told_by_done(tansu: Fixture) -> None:
    worker = tansu.worker()
    tansu.log.send(0, 10)
    worker.work_until(lambda: worker.committed() == 10)
    tansu.log.send(10, 5)
    found = eventually(lambda: worker.commits.poll(0.2, 100))
    worker.redis.flushall()
    worker.commits.redis.sadd("numbers", *(int(record.value or b"") for record in found))
    assert not worker.commits.done()
    worker.redis.delete("numbers")
    worker.work_until(lambda: worker.numbers() == set(range(15)) and worker.committed() == 15)
    worker.close()


def test_who_is_started_again_beside_a_redis_that_was_emptied_meanwhile_goes_back_too(apache: Fixture) -> None:
    worker = apache.worker()
    apache.log.send(0, 10)
    worker.work_until(lambda: worker.committed() == 10)
    worker.close()
    apache.client().flushall()
    later = apache.worker()
    later.work_until(lambda: later.numbers() == set(range(10)))
    later.close()


def test_a_redis_in_memory_is_committed_to_at_once_and_learned_again_when_it_comes_back_empty(
    tmp_path: Path, fresh_kafka: KafkaServer
) -> None:
    log = Numbers(fresh_kafka.bootstrap)
    server, url = redis_server(tmp_path)
    server.start()
    with Redis.from_url(url, socket_timeout=5) as redis:
        worker = Summer(log, f"memory-{uuid4().hex[:8]}", redis)
        log.send(0, 10)
        worker.work_until(lambda: len(worker.numbers()) == 10)
        assert worker.committed() == 10
        server.kill()
        server.start()
        worker.work_until(lambda: worker.numbers() == set(range(10)))
        worker.close()
    server.stop()


def test_a_redis_without_waitaof_is_trusted_with_what_is_old_enough(tmp_path: Path, fresh_kafka: KafkaServer) -> None:
    log = Numbers(fresh_kafka.bootstrap)
    server, url = redis_server(tmp_path, tmp_path / "data")
    old = Server([*server._command, "--rename-command", "WAITAOF", ""], server._answers, tmp_path / "old.log")
    old.start()
    with Redis.from_url(url, socket_timeout=5) as redis:
        worker = Summer(log, f"old-{uuid4().hex[:8]}", redis)
        log.send(0, 10)
        worker.work_until(lambda: len(worker.numbers()) == 10)
        assert worker.committed() == 0
        worker.work_until(lambda: worker.committed() == 10)
        worker.close()
    old.stop()


def test_the_last_offsets_are_committed_when_a_worker_ends(tansu: Fixture) -> None:
    worker = tansu.worker()
    tansu.log.send(0, 10)
    worker.work_until(lambda: len(worker.numbers()) == 10)
    worker.commits.close()
    assert worker.committed() == 10
    assert worker.redis.ttl(kept_key(tansu.group)) > 0
    worker.subscription.close()


def test_while_redis_is_away_nothing_is_passed_over(tansu: Fixture) -> None:
    worker = tansu.worker()
    tansu.log.send(0, 10)
    worker.work_until(lambda: len(worker.numbers()) == 10)
    tansu.server.kill()
    tansu.log.send(10, 5)
    for _ in range(3):
        with pytest.raises(Exception, match=HOST):
            worker.step()
    tansu.server.start()
    worker.work_until(lambda: len(worker.numbers()) == 15)
    worker.close()


def test_nothing_is_written_to_another_run_than_the_one_that_was_polled_for(tansu: Fixture) -> None:
    worker = tansu.worker()
    tansu.log.send(0, 10)
    worker.work_until(lambda: worker.committed() == 10)
    tansu.server.kill()
    tansu.server.start()
    with pytest.raises(OtherRun):
        worker.commits.redis.sadd("numbers", 99)
    worker.work_until(lambda: worker.commits.redis.sismember("numbers", 3) == 1)
    assert worker.numbers() == set(range(10))
    worker.close()
