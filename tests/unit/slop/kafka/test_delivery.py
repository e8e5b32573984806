"""A delivery is done once every one of its records is settled."""

import asyncio
import threading

from slop.kafka.delivery import OVERHEAD, Delivery
from slop.kafka.records import ProducerRecord
from slop.kafka.topics import INTERACTIONS

RECORDS = [ProducerRecord(INTERACTIONS, b"k", b"v" * size) for size in (1, 2, 3)]


async def test_it_succeeds_when_the_last_record_is_acknowledged_from_whatever_thread() -> None:
    finished: list[Delivery] = []
    delivery = Delivery(RECORDS, finished.append)
    threads = [threading.Thread(target=delivery.settle) for _ in RECORDS]
    for thread in threads[:-1]:
        thread.start()
        thread.join()
    await asyncio.sleep(0)
    assert not delivery.outcome.done()
    threads[-1].start()
    assert await asyncio.wait_for(delivery.outcome, 5) is None
    assert finished == [delivery]


async def test_one_failed_record_fails_all_but_only_once_all_are_settled() -> None:
    delivery = Delivery(RECORDS, lambda _: None)
    error = OSError("away")
    delivery.settle(error=error)
    await asyncio.sleep(0)
    assert not delivery.outcome.done()
    delivery.settle(2)
    assert await asyncio.wait_for(delivery.outcome, 5) is error


async def test_its_memory_is_given_back_though_nobody_waits_any_more() -> None:
    finished: list[Delivery] = []
    delivery = Delivery(RECORDS, finished.append)
    delivery.outcome.cancel()
    delivery.settle(3)
    await asyncio.sleep(0)
    assert finished == [delivery]


async def test_its_size_counts_the_values_and_an_overhead_each() -> None:
    assert Delivery(RECORDS, lambda _: None).size == 3 * OVERHEAD + 6
