"""The whole system in containers: the repository's compose.yaml as it is, wherever docker compose answers."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.compose import ROOT, Compose, Container, compose_answers, docker, probe_from

SERVED = {"collector", "generation", "grafana"}
PARTS = SERVED | {"kafka", "redis", "vllm", "featurizer", "learner", "worker", "beat", "prometheus"}
WITHOUT_CHECK = {"kafka-exporter", "redis-exporter"}  # there is nothing but the exporter in their images
PATIENCE_S = 240.0  # two cores are behind for a while after the load test
BATCH = 20
SENDERS = 3
TEXT = "Watered the tomato seedlings and dug compost into the soil of the garden bed."


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    """Everything built, up and healthy; removed afterwards with its volumes."""
    if not compose_answers():
        pytest.skip("docker compose does not answer: install Docker Engine with its compose plugin, and start it")
    compose = Compose(f"slop-test-{uuid4().hex[:6]}", tmp_path_factory.mktemp("compose"))
    try:
        compose.up("--build")
        yield compose
    finally:
        compose.down("--volumes", "--timeout", "5")


@pytest.fixture
def collector(compose: Compose) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=compose.url("collector"), timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture
def generation(compose: Compose) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=compose.url("generation"), timeout=60, trust_env=False) as client:
        yield client


def command(compose: Compose, module: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"loadtests.{module}"],
        cwd=ROOT,
        env=os.environ | compose.environment | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)


def views(user_id: str, count: int) -> list[dict[str, Any]]:
    """Of a post, each of which is a signal; of as many likes but the latest would hold."""
    seen = {"type": "dwell", "value": 9_000, "post_id": "compose-test", "post": {"text": TEXT}}
    return [{"event_id": uuid4().hex, "user_id": user_id, **seen} for _ in range(count)]


def learned(generation: httpx.Client, user_id: str) -> int:
    try:
        answer = generation.get(f"/v1/users/{user_id}/profile")
    except httpx.TransportError:
        return 0
    return int(answer.json()["interactions"]) if answer.is_success else 0


def test_every_container_is_up_and_every_health_check_passes(compose: Compose) -> None:
    ended = {c.service: c.exit_code for c in compose.containers().values() if c.state != "running"}
    assert set(ended.values()) <= {0}, ended
    health = {container.service: container.health for container in compose.running()}
    assert {service for service, status in health.items() if status is None} <= WITHOUT_CHECK
    assert {service for service, status in health.items() if status not in {None, "healthy"}} == set()
    assert set(health) >= PARTS


def test_the_smoke_command_finds_everything_working(compose: Compose) -> None:
    done = command(compose, "smoke")
    assert done.returncode == 0, done.stdout
    assert not [line for line in done.stdout.splitlines() if line.startswith(("✗", "-"))], done.stdout


def test_a_load_test_ends_without_failures(compose: Compose, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    done = command(compose, "run", SECONDS="20", READERS="5", SCENARIO="mixed", SLOP_LOAD_CATALOGUE="22", OUT=str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(out.read_text())
    assert figures["failures"] == 0
    assert figures["work"]["accepted"] > 0


def test_no_container_runs_as_root(compose: Compose) -> None:
    users = {container.service: user_ids(container) for container in compose.running()}
    assert all(users.values())
    assert {service: ids for service, ids in users.items() if "0" in ids} == {}


def user_ids(container: Container) -> set[str]:
    """Of everything that runs in a container."""
    return {line.split()[0] for line in docker("top", container.container_id, "-eo", "uid,pid,args").splitlines()[1:]}


def test_only_what_is_served_is_published_and_only_on_this_machine(compose: Compose) -> None:
    published = {c.service: c.published for c in compose.containers().values() if c.published}
    assert set(published) == SERVED
    assert {address for ports in published.values() for address, _ in ports} == {"127.0.0.1"}


@pytest.fixture
def outside(compose: Compose) -> Iterator[str]:
    """A network that is none of ours."""
    name = f"{compose.project}-outside"
    docker("network", "create", name)
    try:
        yield name
    finally:
        docker("network", "rm", name)


def test_a_container_outside_our_networks_reaches_nothing_but_published_ports(compose: Compose, outside: str) -> None:
    containers = compose.containers()
    image = containers["collector"].image
    within = [address for container in compose.running() for address in listening(container, image)]
    published = [port for container in containers.values() for _, port in container.published]
    gateway = json.loads(docker("network", "inspect", outside))[0]["IPAM"]["Config"][0]["Gateway"]
    network, address = next(iter(containers["kafka"].addresses.items()))
    assert f"{address}:9092" in probe_from(network, image, "reachable", within), "from inside the scan finds it"
    served = {f"{gateway}:{port}" for port in published}
    assert set(probe_from(outside, image, "reachable", [*within, *served])) <= served


def listening(container: Container, image: str) -> list[str]:
    """Every `address:port` that a container listens on."""
    ports = set(probe_from(f"container:{container.container_id}", image, "listening"))
    return [f"{address}:{port}" for address in container.addresses.values() for port in sorted(ports)]


def test_every_replica_of_a_service_is_scraped_and_works(
    compose: Compose, collector: httpx.Client, generation: httpx.Client
) -> None:
    scaled = ("featurizer", "learner")
    replicas = [f"--scale={service}=2" for service in scaled]
    compose("up", "--detach", "--wait", "--no-recreate", *replicas, timeout_s=PATIENCE_S)
    try:
        for service in scaled:
            eventually(lambda service=service: scraped(compose, service) == 2)  # type: ignore[misc]
        assert collector.post("/v1/events", json={"events": views("scaled", 5)}).status_code == 202
        eventually(lambda: learned(generation, "scaled") == 5)
    finally:
        compose("up", "--detach", "--wait", "--no-recreate", timeout_s=PATIENCE_S)
    for service in scaled:
        eventually(lambda service=service: scraped(compose, service) == 1)  # type: ignore[misc]


def scraped(compose: Compose, service: str) -> int:
    """How many processes of a service answer Prometheus."""
    query = f'up{{job="{service}"}} == 1'
    address = "http://127.0.0.1:9090"
    return len(compose("exec", "-T", "prometheus", "promtool", "query", "instant", address, query).splitlines())


def test_down_and_up_again_loses_neither_a_profile_nor_an_interaction(
    compose: Compose, collector: httpx.Client, generation: httpx.Client
) -> None:
    path = "/v1/users/kept/profile"
    assert collector.post("/v1/events", json={"events": views("kept", 5)}).status_code == 202
    eventually(lambda: learned(generation, "kept") == 5)
    profile, log = generation.get(path).json(), event_ids(compose)
    compose.down()
    compose.up()
    assert generation.get(path).json() == profile
    assert event_ids(compose) >= log
    assert collector.post("/v1/events", json={"events": views("kept", 1)}).status_code == 202
    eventually(lambda: learned(generation, "kept") == 6)


def event_ids(compose: Compose) -> set[str]:
    """The ids of all interactions in Kafka's log."""
    return set(compose.probe_within("collector", "event_ids"))


class Sender(threading.Thread):
    """Sends a reader's views as a good client does: what was refused is sent again, with the same ids."""

    def __init__(self, url: str, user_id: str, stop: threading.Event) -> None:
        super().__init__(name=user_id)
        self._url, self.user_id, self._stop_asked = url, user_id, stop
        self.accepted: set[str] = set()
        self.refused = 0
        self.failures: list[str] = []

    def run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30, trust_env=False) as client:
            while not self._stop_asked.is_set() and not self.failures:
                try:
                    self._deliver(client, views(self.user_id, BATCH))
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))

    def _deliver(self, client: httpx.Client, events: list[dict[str, Any]]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            answer = client.post("/v1/events", json={"events": events})
            if answer.status_code == 202:
                self.accepted |= {result["event_id"] for result in answer.json()["results"]}
                time.sleep(0.02)
                return
            if answer.status_code not in {429, 503} or "Retry-After" not in answer.headers:
                break
            self.refused += 1
            time.sleep(float(answer.headers["Retry-After"]))
        self.failures.append(f"{answer.status_code}: {answer.text[:300]}")


def test_kafka_that_is_killed_under_load_has_lost_nothing_that_was_answered_202(
    compose: Compose, generation: httpx.Client
) -> None:
    stop, run = threading.Event(), uuid4().hex[:6]
    senders = [Sender(compose.url("collector"), f"sender-{run}-{i}", stop) for i in range(SENDERS)]
    for sender in senders:
        sender.start()
    try:
        time.sleep(5)
        docker("kill", "--signal", "KILL", compose.containers()["kafka"].container_id)
        time.sleep(5)
        before = [len(sender.accepted) for sender in senders]
        compose("start", "kafka")
        eventually(lambda: all(len(s.accepted) >= n + 5 * BATCH for s, n in zip(senders, before, strict=True)))
    finally:
        stop.set()
        for sender in senders:
            sender.join(PATIENCE_S)
    assert [sender.failures for sender in senders] == [[]] * SENDERS
    assert all(sender.refused for sender in senders)
    accepted = set[str]().union(*(sender.accepted for sender in senders))
    assert accepted <= event_ids(compose)
    eventually(lambda: all(learned(generation, s.user_id) == len(s.accepted) for s in senders))
