import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from kit.health import health_router
from kit.problems import install_problems
from kit.request_metrics import RequestMetrics, observe_requests
from tests.samples import sample


def an_app(release: asyncio.Event | None = None) -> FastAPI:
    app = FastAPI()
    install_problems(app)
    app.include_router(health_router({}))
    things = APIRouter()

    @things.get("/things/{name}")
    async def thing(name: str) -> dict[str, str]:
        return {"name": name}

    @things.post("/things/{name}", status_code=201)
    async def make(name: str) -> None:
        raise RuntimeError(name)

    app.include_router(things)

    @app.get("/slow")
    async def slow() -> StreamingResponse:
        async def pieces() -> AsyncIterator[str]:
            yield "one"
            assert release is not None
            await release.wait()
            yield "two"

        return StreamingResponse(pieces())

    observe_requests(app)
    return app


def client_of(app: FastAPI) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://service", timeout=10)


def count(method: str, route: str, status: int) -> float:
    return sample("slop_http_request_seconds_count", method=method, route=route, status=status)


def test_every_route_is_there_before_its_first_request() -> None:
    app = FastAPI()

    @app.put("/new", status_code=202)
    async def new() -> None: ...

    observe_requests(app)
    assert count("PUT", "/new", 202) == 0


async def test_requests_are_counted_by_the_template_of_their_route() -> None:
    async with client_of(an_app()) as client:
        before = count("GET", "/things/{name}", 200)
        for name in ("a", "b"):
            await client.get(f"/things/{name}")
    assert count("GET", "/things/{name}", 200) == before + 2
    with pytest.raises(LookupError):
        count("GET", "/things/a", 200)


async def test_an_error_that_nobody_handles_is_a_500() -> None:
    async with client_of(an_app()) as client:
        assert (await client.post("/things/a")).status_code == 500
    assert count("POST", "/things/{name}", 500) >= 1


async def test_clients_can_not_make_up_labels() -> None:
    async with client_of(an_app()) as client:
        await client.get("/nowhere/123")
        await client.request("BREW", "/things/a")
        await client.delete("/things/a")
    assert count("GET", "other", 404) >= 1
    assert count("other", "/things/{name}", 405) >= 1
    assert count("DELETE", "/things/{name}", 405) >= 1


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_health_checks_are_not_observed(path: str) -> None:
    async with client_of(an_app()) as client:
        assert (await client.get(path)).status_code == 200
    with pytest.raises(LookupError):
        count("GET", path, 200)


async def test_a_stream_is_in_flight_until_it_ends() -> None:
    release = asyncio.Event()
    async with client_of(an_app(release)) as client:
        in_flight, before = sample("slop_http_requests_in_flight"), count("GET", "/slow", 200)
        request = asyncio.create_task(client.get("/slow"))
        while sample("slop_http_requests_in_flight") == in_flight:
            await asyncio.sleep(0.01)
        assert count("GET", "/slow", 200) == before
        release.set()
        assert (await request).text == "onetwo"
    assert count("GET", "/slow", 200) == before + 1
    assert sample("slop_http_requests_in_flight") == in_flight


async def test_a_client_that_leaves_before_the_answer_counts_as_nothing() -> None:
    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        """What an application does that has seen a disconnect."""

    async def nothing(message: Message | None = None) -> Message:
        raise AssertionError(message)

    before = sample("slop_http_requests_in_flight")
    scope = {"type": "http", "path": "/left", "method": "GET"}
    await RequestMetrics(silent, [])(scope, nothing, nothing)  # type: ignore[arg-type]
    assert sample("slop_http_requests_in_flight") == before
    with pytest.raises(LookupError):
        count("GET", "other", 0)
