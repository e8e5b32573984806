"""The collector as a process, with a real broker that comes, goes and stalls."""

import os
import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from kafka.partitioner.default import murmur2

from slop.kafka.topics import INTERACTIONS, POSTS, REJECTED
from slop.v1.interaction_pb2 import Interaction, InteractionType, Rejected
from slop.v1.post_pb2 import Post
from tests.collectors import collector_server, read_all, running
from tests.items import event, post
from tests.servers import KafkaServer

CLIENT = httpx.Client(timeout=30)


@pytest.fixture(scope="module", autouse=True)
def closed_client() -> Iterator[None]:
    yield
    CLIENT.close()


@pytest.fixture(scope="module")
def collector(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server, url = collector_server(tmp_path_factory.mktemp("collector"), kafka_bootstrap)
    with running(server):
        yield url


@contextmanager
def stalled(broker: KafkaServer) -> Iterator[None]:
    """A broker that accepts connections and answers nothing."""
    assert broker.process is not None
    os.killpg(broker.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(broker.process.pid, signal.SIGCONT)


def interactions(bootstrap: str, users: set[str]) -> dict[str, list[tuple[int, bytes, Interaction]]]:
    """(partition, key, interaction) of these users, in the order of the log."""
    found = defaultdict(list)
    for record in read_all(bootstrap, INTERACTIONS):
        interaction = Interaction.FromString(record.value)
        if interaction.user_id in users:
            found[interaction.user_id].append((record.partition, record.key, interaction))
    return found


def post_events(url: str, count: int) -> httpx.Response:
    items = [event(event_id=f"{uuid4()}") for _ in range(count)]
    return CLIENT.post(f"{url}/v1/events", json={"events": items})


def test_a_users_events_lie_in_one_partition_in_the_order_sent(collector: str, kafka_bootstrap: str) -> None:
    users = [f"user-{uuid4()}" for _ in range(12)]
    sent = [(f"{uuid4()}", users[index * 5 % len(users)]) for index in range(600)]
    for start in range(0, len(sent), 50):
        batch = [event(event_id=event_id, user_id=user) for event_id, user in sent[start : start + 50]]
        response = CLIENT.post(f"{collector}/v1/events", json={"events": batch})
        assert response.status_code == 202
        assert response.json() == {"results": [{"event_id": e["event_id"], "status": "accepted"} for e in batch]}
    found = interactions(kafka_bootstrap, set(users))
    for user in users:
        assert [record[2].event_id for record in found[user]] == [event_id for event_id, of in sent if of == user]
        key = f"default/{user}".encode()
        assert {record[1] for record in found[user]} == {key}
        assert {record[0] for record in found[user]} == {(murmur2(key) & 0x7FFFFFFF) % INTERACTIONS.partitions}


def test_an_event_is_stamped_with_the_collectors_clock(collector: str, kafka_bootstrap: str) -> None:
    user = f"user-{uuid4()}"
    item = event(user_id=user, type="dwell", value=1500, timestamp="2020-01-01T00:00:00Z", post={"text": "A text."})
    before = time.time() * 1000
    assert CLIENT.post(f"{collector}/v1/events", json={"events": [item]}).status_code == 202
    [(_, _, interaction)] = interactions(kafka_bootstrap, {user})[user]
    assert before - 1 <= interaction.received_at_ms <= time.time() * 1000
    assert interaction.occurred_at_ms == 1_577_836_800_000
    assert (interaction.type, interaction.value) == (InteractionType.INTERACTION_TYPE_DWELL, 1500)
    assert interaction.post_text == "A text."


def test_of_a_mixed_batch_the_good_are_published_and_the_bad_reported(collector: str, kafka_bootstrap: str) -> None:
    user, bad = f"user-{uuid4()}", f"bad-{uuid4()}"
    items = [event(event_id=bad, user_id=user, type="clack"), event(user_id=user), event(event_id=bad, post_id="")]
    response = CLIENT.post(f"{collector}/v1/events", json={"events": items})
    assert response.status_code == 202
    results = response.json()["results"]
    assert [(result["event_id"], result["status"]) for result in results] == [
        *((bad, "rejected"), ("e", "accepted"), (bad, "rejected"))
    ]
    assert len(interactions(kafka_bootstrap, {user})[user]) == 1
    assert _reasons(kafka_bootstrap, bad, 2) == ["invalid_type", "invalid_post_id"]


def _reasons(bootstrap: str, event_id: str, count: int) -> list[str]:
    """The reasons under which an event was reported, once there are `count`: nobody waits for them to be written."""
    deadline = time.monotonic() + 10
    while True:
        reported = [Rejected.FromString(record.value) for record in read_all(bootstrap, REJECTED)]
        reasons = [rejected.reason for rejected in reported if event_id.encode() in rejected.payload]
        if len(reasons) >= count or time.monotonic() > deadline:
            return reasons
        time.sleep(0.1)


def test_posts_are_published_under_their_ids(collector: str, kafka_bootstrap: str) -> None:
    post_id = f"post-{uuid4()}"
    body = {"posts": [post(post_id=post_id, text="A text.", author="bo", topics=["food"])]}
    response = CLIENT.post(f"{collector}/v1/posts", json=body)
    assert (response.status_code, response.json()) == (202, {"results": [{"post_id": post_id, "status": "accepted"}]})
    key = f"default/{post_id}".encode()
    [record] = [record for record in read_all(kafka_bootstrap, POSTS) if record.key == key]
    published = Post.FromString(record.value)
    assert (published.post_id, published.text, published.author) == (post_id, "A text.", "bo")
    assert list(published.topics) == ["food"]


def test_a_full_request_is_accepted(collector: str) -> None:
    assert len(post_events(collector, 1_000).json()["results"]) == 1_000


def test_a_collector_that_starts_before_its_broker_refuses_at_once_and_then_recovers(
    fresh_kafka: KafkaServer, tmp_path: Path
) -> None:
    fresh_kafka.kill()
    server, url = collector_server(tmp_path, fresh_kafka.bootstrap, until="healthz")
    with running(server):
        begin = time.monotonic()
        response = post_events(url, 1)
        assert time.monotonic() - begin < 2
        assert response.status_code == 503
        assert response.headers["content-type"] == "application/problem+json"
        assert response.headers["retry-after"] == "1"
        assert CLIENT.get(f"{url}/readyz").status_code == 503
        fresh_kafka.start()
        _wait_for_202(url, 30)


def test_after_a_broker_has_gone_and_come_back_events_are_accepted_again(
    fresh_kafka: KafkaServer, tmp_path: Path
) -> None:
    server, url = collector_server(tmp_path, fresh_kafka.bootstrap, collector_ack_timeout_s=1)
    with running(server):
        assert post_events(url, 1).status_code == 202
        fresh_kafka.kill()
        assert post_events(url, 1).json()["code"] == "not_acknowledged"
        fresh_kafka.start()
        _wait_for_202(url, 30)


def _wait_for_202(url: str, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while (response := post_events(url, 1)).status_code != 202:
        assert time.monotonic() < deadline, response.text
        time.sleep(0.1)


def test_a_stalled_broker_gives_503_and_429_and_never_holds_up_other_requests(
    fresh_kafka: KafkaServer, tmp_path: Path
) -> None:
    settings = {"collector_ack_timeout_s": 4, "collector_queue_bytes": 4 * 1024**2}
    server, url = collector_server(tmp_path, fresh_kafka.bootstrap, **settings)
    with running(server), ThreadPoolExecutor(6) as pool:
        with stalled(fresh_kafka):
            waiting = [pool.submit(post_events, url, 1_000) for _ in range(6)]
            answered_meanwhile = 0
            while not all(request.done() for request in waiting):
                answered_meanwhile += CLIENT.get(f"{url}/healthz").status_code == 200
                time.sleep(0.05)
            responses = [request.result() for request in waiting]
            assert sorted(response.status_code for response in responses) == [429, 429, 429, 503, 503, 503]
            assert all(response.headers["retry-after"] == "1" for response in responses)
            assert answered_meanwhile >= 5
        _wait_for_202(url, 30)


def test_sigterm_lets_running_requests_finish_and_publishes_what_they_sent(
    fresh_kafka: KafkaServer, tmp_path: Path
) -> None:
    server, url = collector_server(tmp_path, fresh_kafka.bootstrap)
    with running(server), ThreadPoolExecutor(1) as pool:
        process = server.process
        assert process is not None
        with stalled(fresh_kafka):
            request = pool.submit(post_events, url, 100)
            while "slop_collector_waiting_records 100.0" not in CLIENT.get(f"{url}/metrics").text:
                assert not request.done(), request.result()
            process.terminate()
            time.sleep(0.3)
            assert not request.done()
        response = request.result()
        process.wait(20)
    assert response.status_code == 202
    published = {
        Interaction.FromString(record.value).event_id for record in read_all(fresh_kafka.bootstrap, INTERACTIONS)
    }
    assert {result["event_id"] for result in response.json()["results"]} <= published
