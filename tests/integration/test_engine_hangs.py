"""A generation service whose engine hangs behind an API that goes on answering."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from redis import Redis

from slop.basis import Basis
from tests.basis import random_basis
from tests.engines import HangingEngine, hanging_engine
from tests.generations import client_of, generation_server
from tests.waiting import eventually

SILENT_S: Final = 5
ASKED: Final[dict[str, Any]] = {"user_id": "ada", "max_tokens": 5}


@pytest.fixture
def engine() -> Iterator[HangingEngine]:
    with hanging_engine() as engine:
        yield engine


@pytest.fixture
def basis() -> Basis:
    return random_basis()


@pytest.fixture
def service(
    engine: HangingEngine, basis: Basis, redis_client: Redis, redis_url: str, tmp_path: Path
) -> Iterator[httpx.Client]:
    del redis_client  # it has emptied Redis
    server, url = generation_server(
        tmp_path, basis, vllm_url=engine.url, redis_url=redis_url, engine_silent_s=SILENT_S, generation_max_wait_s=30
    )
    server.start()
    with client_of(url) as client:
        eventually(lambda: engine_check(client) == "ok")
        yield client
    server.stop()


def engine_check(service: httpx.Client) -> str:
    """What /readyz says of the engine."""
    outcome: str = service.get("/readyz").json()["checks"]["engine"]
    return outcome


def test_an_engine_that_hangs_is_not_ready_though_its_api_answers_and_is_ready_when_it_writes_again(
    service: httpx.Client, engine: HangingEngine
) -> None:
    assert service.post("/v1/generate", json=ASKED).status_code == 200
    engine.hangs.set()
    eventually(lambda: engine_check(service).startswith("NoToken"))
    assert service.get("/readyz").status_code == 503
    assert httpx.get(f"{engine.url}/models").status_code == 200
    asked = engine.asked.count(ASKED["max_tokens"])
    refused = service.post("/v1/generate", json=ASKED)
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert engine.asked.count(ASKED["max_tokens"]) == asked  # it waits for no timeout
    engine.hangs.clear()
    eventually(lambda: engine_check(service) == "ok")
    assert service.get("/readyz").status_code == 200
    assert service.post("/v1/generate", json=ASKED).status_code == 200


def test_an_engine_that_writes_for_readers_is_not_asked_for_more(service: httpx.Client, engine: HangingEngine) -> None:
    engine.asked.clear()
    with service.stream("POST", "/v1/generate", json=ASKED | {"max_tokens": 400, "stream": True}) as response:
        for _ in response.iter_lines():
            assert engine.asked == [400]
    assert engine_check(service) == "ok"


def test_an_engine_that_is_busy_with_others_for_longer_than_it_may_be_silent_is_ready(
    service: httpx.Client, engine: HangingEngine
) -> None:
    engine.starves.set()
    asked = len(engine.asked)
    outcomes = set()

    def has_given_up_twice() -> bool:
        outcomes.add(engine_check(service))
        return len(engine.asked) > asked + 2

    eventually(has_given_up_twice)
    assert outcomes == {"ok"}


def test_an_engine_that_nobody_asks_is_asked_for_one_token_at_a_time(
    service: httpx.Client, engine: HangingEngine
) -> None:
    engine.asked.clear()
    eventually(lambda: len(engine.asked) > 1)
    assert set(engine.asked) == {1}
    engine.hangs.set()
    asked, began = len(engine.asked), time.monotonic()
    eventually(lambda: engine_check(service) != "ok")
    given_up = (time.monotonic() - began) // SILENT_S
    assert len(engine.asked) <= asked + 1 + given_up
