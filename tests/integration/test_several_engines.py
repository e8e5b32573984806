"""A generation service with two engines, each a process: one killed, hung, slow and back again, while readers ask."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpx
import pytest

from generation.engine_pool import rendezvous
from tests.basis import random_basis
from tests.engine_process import EngineProcess
from tests.generations import client_of, generation_server
from tests.waiting import eventually

SILENT_S: Final = 4
READERS: Final = [f"reader-{number}" for number in range(12)]


class Service:
    """The service with its engines, of which `mine` and `other` are ada's first and second."""

    def __init__(self, client: httpx.Client, engines: list[EngineProcess]) -> None:
        self.client, self.engines = client, {engine.name: engine for engine in engines}
        self.mine, self.other = (self.engines[name] for name in rendezvous("ada", self.engines))

    def post(self, user_id: str = "ada", **body: Any) -> httpx.Response:
        return self.client.post("/v1/generate", json={"user_id": user_id, "max_tokens": 3, "temperature": 0} | body)

    def wrote(self, user_id: str = "ada") -> str:
        """Who wrote a reader's post."""
        response = self.post(user_id)
        assert response.status_code == 200, response.text
        return str(response.json()["posts"][0]["text"].split()[0])

    def check(self, engine: EngineProcess) -> str:
        """What /readyz says of an engine."""
        return str(self.client.get("/readyz").json()["checks"][f"engine {engine.name}"])

    def is_up(self, engine: EngineProcess) -> bool:
        """What the metrics say of an engine."""
        return f'slop_engine_up{{engine="{engine.name}"}} 1.0' in self.client.get("/metrics").text

    @contextmanager
    def readers(self) -> Iterator[list[tuple[int, float]]]:
        """Readers who ask all the time; statuses and seconds of their answers."""
        answers, done = list[tuple[int, float]](), threading.Event()

        def ask(user_id: str) -> None:
            while not done.is_set():
                began = time.monotonic()
                status = self.post(user_id).status_code
                answers.append((status, time.monotonic() - began))

        threads = [threading.Thread(target=ask, args=[user_id]) for user_id in READERS]
        for thread in threads:
            thread.start()
        try:
            time.sleep(1)
            yield answers
        finally:
            done.set()
            for thread in threads:
                thread.join()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("engines")
    engines = [EngineProcess(folder), EngineProcess(folder)]
    for engine in engines:
        engine.start()
    urls = ", ".join(engine.url for engine in engines)
    server, url = generation_server(
        folder, random_basis(), vllm_url=urls, redis_url=redis_url, engine_silent_s=SILENT_S, control_share=0
    )
    server.start()
    try:
        with client_of(url) as client:
            yield Service(client, engines)
    finally:
        server.stop()
        for engine in engines:
            engine.server.kill()


@pytest.fixture
def service(running: Service) -> Service:
    """With both engines up."""
    for engine in running.engines.values():
        eventually(lambda engine=engine: running.check(engine) == "ok")
    return running


def test_every_reader_stays_on_one_engine_and_both_have_some(service: Service) -> None:
    for user_id in READERS:
        assert {service.wrote(user_id) for _ in range(2)} == {rendezvous(user_id, service.engines)[0]}
    assert {rendezvous(user_id, service.engines)[0] for user_id in READERS} == set(service.engines)


def test_an_engine_that_is_killed_fails_no_reader_and_has_its_readers_back_when_it_is_back(service: Service) -> None:
    with service.readers() as answers:
        service.mine.server.kill()
        eventually(lambda: service.check(service.mine) != "ok")
        assert service.wrote() == service.other.name
        assert not service.is_up(service.mine)
        assert service.client.get("/readyz").status_code == 200
        service.mine.start()
        eventually(lambda: service.is_up(service.mine))
        assert service.wrote() == service.mine.name
    assert {status for status, _ in answers} == {200}


def test_an_engine_that_hangs_fails_no_reader_and_has_its_readers_back_when_it_goes_on(service: Service) -> None:
    with service.readers() as answers:
        service.mine.signal(signal.SIGSTOP)
        try:
            assert service.wrote() == service.other.name
            eventually(lambda: not service.is_up(service.mine))
            began = time.monotonic()
            assert service.wrote() == service.other.name
            assert time.monotonic() - began < SILENT_S  # it is not tried again
            assert service.client.get("/readyz").status_code == 200
        finally:
            service.mine.signal(signal.SIGCONT)
        eventually(lambda: service.is_up(service.mine))
        assert service.wrote() == service.mine.name
    assert {status for status, _ in answers} == {200}


def test_a_stream_that_has_begun_ends_with_the_problem(service: Service) -> None:
    body = {"user_id": "ada", "max_tokens": 500, "temperature": 0, "stream": True}
    with service.client.stream("POST", "/v1/generate", json=body) as response:
        lines = response.iter_lines()
        while not next(lines).startswith("data:"):
            pass
        service.mine.server.kill()
        rest = list(lines)
    service.mine.start()
    assert "event: error" in rest
    assert not any(service.other.name in line for line in rest)


def test_a_slow_engine_keeps_its_readers(service: Service) -> None:
    service.mine.server.kill()
    service.mine.start(word_s=0.7)
    eventually(lambda: service.check(service.mine) == "ok")
    assert service.wrote() == service.mine.name
    service.mine.server.kill()
    service.mine.start()


def test_without_any_engine_readers_are_told_when_to_come_back_and_are_answered_when_one_is_back(
    service: Service,
) -> None:
    for engine in service.engines.values():
        engine.server.kill()
    response = service.post()
    assert response.status_code == 503
    assert response.headers["retry-after"]
    eventually(lambda: service.client.get("/readyz").status_code == 503)
    reason = service.client.get("/readyz").json()["checks"]["engine"]
    assert all(name in reason for name in service.engines)
    service.other.start()
    eventually(lambda: service.client.get("/readyz").status_code == 200)
    assert service.wrote() == service.other.name
    service.mine.start()
    eventually(lambda: service.wrote() == service.mine.name)
