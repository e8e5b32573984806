"""Every request ends: by its deadline, when its caller leaves, or at once where the caller has too much in flight."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from httpx_sse import EventSource
from redis import Redis

from infra.local.ports import free_port
from tests.basis import random_basis
from tests.engines import HangingEngine, hanging_engine
from tests.generations import client_of, generation_server
from tests.servers import HOST
from tests.waiting import eventually

DEADLINE_S: Final = 3
LONG: Final = 500  # words: 10 s and more
BASIS = random_basis()
DEADLINES: Final = 'slop_refused_requests_total{reason="deadline"}'


@pytest.fixture(scope="module")
def engine() -> Iterator[HangingEngine]:
    with hanging_engine() as engine:
        yield engine


@pytest.fixture(scope="module")
def running(engine: HangingEngine, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    server, url = generation_server(
        tmp_path_factory.mktemp("generation"),
        BASIS,
        vllm_url=engine.url,
        redis_url=redis_url,
        redis_timeout_s=1,
        generation_deadline_s=DEADLINE_S,
        generation_max_concurrency=40,
        generation_max_wait_s=30,
        generation_reader_requests=2,
    )
    server.start()
    with client_of(url) as client:
        yield client
    server.stop()


@pytest.fixture
def service(running: httpx.Client, engine: HangingEngine, redis_client: Redis) -> httpx.Client:
    del redis_client  # it has emptied Redis
    eventually(lambda: not engine.running)
    return running


def body(user_id: str = "ada", **more: Any) -> dict[str, Any]:
    return {"user_id": user_id, "max_tokens": LONG} | more


async def leaves_after(client: httpx.AsyncClient, seconds: float, sent: dict[str, Any]) -> None:
    """Ask, and close the connection before the answer has come."""
    try:
        async with asyncio.timeout(seconds), client.stream("POST", "/v1/generate", json=sent) as response:
            async for _ in response.aiter_bytes():
                pass
    except TimeoutError:
        return
    raise AssertionError("it was answered")


@pytest.mark.parametrize("stream", [False, True])
def test_80_callers_that_leave_leave_nothing_running_after_two_seconds(
    service: httpx.Client, engine: HangingEngine, stream: bool
) -> None:
    """40 of them are at the engine, the others wait for their turn."""

    async def all_leave() -> None:
        asked = [body(f"reader-{number}", stream=stream) | ({} if stream else {"n": 16}) for number in range(80)]
        async with httpx.AsyncClient(base_url=service.base_url) as client:
            await asyncio.gather(*(leaves_after(client, 1.5, one) for one in asked))

    gone = _counted(service, "slop_callers_gone_total")
    asyncio.run(all_leave())
    left = time.monotonic()
    eventually(lambda: not engine.running)
    assert time.monotonic() - left < 2
    assert _counted(service, "slop_callers_gone_total") >= gone + 40
    assert service.post("/v1/generate", json=body(max_tokens=2)).status_code == 200


def test_no_answer_takes_longer_than_its_deadline(service: httpx.Client, engine: HangingEngine) -> None:
    late = _counted(service, DEADLINES)
    started = time.monotonic()
    response = service.post("/v1/generate", json=body())
    assert time.monotonic() - started < DEADLINE_S + 1
    assert (response.status_code, response.json()["code"]) == (503, "deadline")
    assert int(response.headers["retry-after"]) > 0
    eventually(lambda: not engine.running)
    with service.stream("POST", "/v1/generate", json=body(stream=True)) as streamed:
        events = [(event.event, event.json()) for event in EventSource(streamed).iter_sse()]
    assert len(events) > 10
    assert (events[-1][0], events[-1][1]["code"]) == ("error", "deadline")
    assert _counted(service, DEADLINES) == late + 2
    eventually(lambda: not engine.running)


def test_who_has_too_much_in_flight_is_told_to_come_back_and_others_are_served(
    service: httpx.Client, engine: HangingEngine
) -> None:
    async def ask() -> tuple[list[int], int]:
        async with httpx.AsyncClient(base_url=service.base_url, timeout=60) as client:
            flood = [asyncio.create_task(client.post("/v1/generate", json=body("flood"))) for _ in range(6)]
            await asyncio.sleep(0.5)
            other = await client.post("/v1/generate", json=body("bob", max_tokens=2))
            refused = [task.result() for task in flood if task.done()]
            assert all(int(one.headers["retry-after"]) > 0 for one in refused)
            await asyncio.gather(*flood)
            return [one.status_code for one in refused], other.status_code

    refused, other = asyncio.run(ask())
    assert refused == [429] * 4
    assert other == 200


def test_one_caller_can_not_take_all_of_the_engine(
    engine: HangingEngine, redis_client: Redis, redis_url: str, tmp_path: Path
) -> None:
    """The turns of a key that asks under a hundred names go in part to a key that asks under one."""
    del redis_client
    server, url = generation_server(
        tmp_path,
        BASIS,
        vllm_url=engine.url,
        redis_url=redis_url,
        generation_max_concurrency=2,
        generation_max_waiting=8,
    )
    server.start()

    async def ask() -> tuple[list[int], int]:
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:

            async def post(user_id: str, key: str) -> int:
                headers = {"Authorization": f"Bearer {key}"}
                return (
                    await client.post("/v1/generate", json=body(user_id, max_tokens=20), headers=headers)
                ).status_code

            flood = [asyncio.create_task(post(f"made-up-{number}", "flood")) for number in range(30)]
            await asyncio.sleep(0.3)
            other = await post("ada", "shop")
            return await asyncio.gather(*flood), other

    flood, other = asyncio.run(ask())
    server.stop()
    assert other == 200
    assert set(flood) >= {200, 503}


def test_idle_connections_are_kept_for_longer_than_a_proxy_keeps_them(service: httpx.Client) -> None:
    with httpx.Client(base_url=service.base_url, limits=httpx.Limits(keepalive_expiry=60)) as client:
        first = client.get("/healthz").extensions["network_stream"]
        time.sleep(6)  # uvicorn's own default is 5
        assert client.get("/healthz").extensions["network_stream"] is first


def test_redis_that_does_not_answer_counts_against_the_deadline_too(engine: HangingEngine, tmp_path: Path) -> None:
    server, url = generation_server(
        tmp_path,
        BASIS,
        vllm_url=engine.url,
        redis_url=f"redis://{HOST}:{free_port()}/0",
        generation_deadline_s=DEADLINE_S,
    )
    server.start()
    with client_of(url) as client:
        started = time.monotonic()
        assert client.post("/v1/generate", json=body()).status_code == 503
        assert time.monotonic() - started < DEADLINE_S + 1
    server.stop()


def _counted(service: httpx.Client, name: str) -> float:
    lines = service.get("/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))
