"""What was answered 202 is in the log, though a real Apache Kafka was killed and started again in between."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from slop.kafka.topics import INTERACTIONS
from slop.v1.interaction_pb2 import Interaction
from tests.collectors import collector_server, read_all, running
from tests.items import event
from tests.servers import KafkaServer

BATCH = 20


class Feeder:
    """Posts events of one user until it is told to stop; keeps the ids by how they were answered."""

    def __init__(self, url: str, stop: threading.Event) -> None:
        self._url, self._stop = url, stop
        self.accepted: list[str] = []
        self.statuses: Counter[int] = Counter()
        self.last_accepted_at = 0.0

    def run(self) -> None:
        user = f"user-{uuid4()}"
        with httpx.Client(timeout=300) as client:
            while not self._stop.is_set():
                items = [event(event_id=f"{uuid4()}", user_id=user) for _ in range(BATCH)]
                self._note(client.post(f"{self._url}/v1/events", json={"events": items}))
                time.sleep(0.02)

    def _note(self, response: httpx.Response) -> None:
        self.statuses[response.status_code] += 1
        if response.status_code == 202:
            self.accepted += [result["event_id"] for result in response.json()["results"]]
            self.last_accepted_at = time.monotonic()


def wait_until_accepted_after(feeders: list[Feeder], moment: float, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while any(feeder.last_accepted_at <= moment for feeder in feeders):
        assert time.monotonic() < deadline, [feeder.statuses for feeder in feeders]
        time.sleep(0.05)


@pytest.mark.parametrize("ack_timeout_s", [1, 240], ids=["outage longer than the wait", "outage shorter than the wait"])
def test_nothing_that_was_answered_202_is_lost_when_the_broker_is_killed(
    apache_kafka: KafkaServer, tmp_path: Path, ack_timeout_s: int
) -> None:
    server, url = collector_server(tmp_path, apache_kafka.bootstrap, collector_ack_timeout_s=ack_timeout_s)
    stop = threading.Event()
    with running(server), ThreadPoolExecutor(3) as pool:
        feeders = [Feeder(url, stop) for _ in range(3)]
        runs = [pool.submit(feeder.run) for feeder in feeders]
        try:
            wait_until_accepted_after(feeders, time.monotonic(), 120)
            apache_kafka.kill()
            time.sleep(2.5)
            apache_kafka.start()
            wait_until_accepted_after(feeders, time.monotonic(), 120)
        finally:
            stop.set()
        for run in runs:
            run.result(300)
    accepted = [event_id for feeder in feeders for event_id in feeder.accepted]
    records = read_all(apache_kafka.bootstrap, INTERACTIONS)
    copies = Counter(Interaction.FromString(record.value).event_id for record in records)
    assert [event_id for event_id in accepted if event_id not in copies] == []
    refused = sum(feeder.statuses[503] for feeder in feeders)
    if ack_timeout_s == 1:
        assert refused > 0
    else:
        assert refused == 0
        assert {copies[event_id] for event_id in accepted} == {1}
