"""Every bad request gets its precise status and a problem document. No broker runs: a good one gets 503."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from collector.app import create_app
from collector.settings import CollectorSettings
from tests.items import event, post

JSON = {"Content-Type": "application/json"}
SETTINGS = CollectorSettings(kafka_bootstrap="127.0.0.1:1", collector_body_timeout_s=0.2, collector_retry_after_s=3)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(SETTINGS))
    async with httpx.AsyncClient(transport=transport, base_url="http://collector", timeout=10) as client:
        yield client


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert (document["type"], document["status"]) == ("about:blank", status)
    assert document["title"]
    assert document["detail"]
    return document


@pytest.mark.parametrize("path", ["/v1/events", "/v1/posts"])
@pytest.mark.parametrize("body", [b"{", b"nonsense", b'{"events":[', b"\xff\xfe", b"[" * 100_000], ids=lambda b: b[:9])
async def test_wrong_json_is_a_400(client: httpx.AsyncClient, path: str, body: bytes) -> None:
    problem(await client.post(path, content=body, headers=JSON), 400)


@pytest.mark.parametrize("path", ["/v1/events", "/v1/posts"])
@pytest.mark.parametrize(
    "body", [b"", b"5", b"null", b"[]", b"{}", b'{"events":{},"posts":{}}', b'{"events":[],"posts":[]}']
)
async def test_json_of_another_shape_is_a_422_that_says_where(
    client: httpx.AsyncClient, path: str, body: bytes
) -> None:
    document = problem(await client.post(path, content=body, headers=JSON), 422)
    assert document["errors"][0]["at"].startswith("body")


@pytest.mark.parametrize(
    ("item", "error"),
    [
        (event(type="clack"), "invalid_type: "),
        (event(type="rate", value=1.5), "invalid_value: Input should be less than or equal to 1"),
        (event(type="dwell", value=-1), "invalid_value: Input should be greater than or equal to 0"),
        (event(post={"text": "a" * 100_000}), "invalid_post: String should have at most 20000 characters"),
        (event(user_id="u" * 10_000), "invalid_user_id: String should have at most 256 characters"),
        (event(user_id="u\x00"), "invalid_user_id: String should match pattern"),
        (event(post_id="\x1b[2J"), "invalid_post_id: String should match pattern"),
        (5, "invalid_item: "),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_nothing_valid_is_a_422_with_the_error_of_each(client: httpx.AsyncClient, item: Any, error: str) -> None:
    document = problem(await client.post("/v1/events", json={"events": [item]}), 422)
    assert document["code"] == "none_valid"
    [result] = document["results"]
    assert result["status"] == "rejected"
    assert result["error"].startswith(error)
    assert result.get("event_id") == (item["event_id"] if isinstance(item, dict) else None)


async def test_a_value_that_json_does_not_have_is_rejected(client: httpx.AsyncClient) -> None:
    body = json.dumps({"events": [event(type="rate", value=float("nan"))]})
    document = problem(await client.post("/v1/events", content=body, headers=JSON), 422)
    assert document["results"][0]["error"].startswith("invalid_value")


async def test_an_id_that_can_not_be_used_is_not_echoed(client: httpx.AsyncClient) -> None:
    document = problem(await client.post("/v1/posts", json={"posts": [post(post_id="a" * 10_000)]}), 422)
    assert "post_id" not in document["results"][0]
    assert len(json.dumps(document)) < 1_000


async def test_a_post_text_of_100_kb_is_rejected(client: httpx.AsyncClient) -> None:
    document = problem(await client.post("/v1/posts", json={"posts": [post(text="a" * 100_000)]}), 422)
    assert document["results"] == [
        {"post_id": "p", "status": "rejected", "error": "invalid_text: String should have at most 20000 characters"}
    ]


@pytest.mark.parametrize("items", [1_001, 5_000])
async def test_more_than_1000_items_are_a_413(client: httpx.AsyncClient, items: int) -> None:
    document = problem(await client.post("/v1/events", json={"events": [event()] * items}), 413)
    assert document["detail"] == f"{items} items, where a request may have 1000"


async def test_a_body_beyond_512_kb_is_a_413_by_its_announced_length_alone(client: httpx.AsyncClient) -> None:
    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    headers = JSON | {"Content-Length": str(512 * 1024 + 1)}
    document = problem(await client.post("/v1/events", content=never(), headers=headers), 413)
    assert document["code"] == "body_too_large"


async def test_a_chunked_body_beyond_512_kb_is_a_413_as_soon_as_it_is_too_long(client: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 65_536
            yield b" " * 65_536

    problem(await client.post("/v1/events", content=endless(), headers=JSON), 413)
    assert sent == 9 * 65_536


async def test_a_body_that_does_not_arrive_is_a_408(client: httpx.AsyncClient) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(5)

    response = await client.post("/v1/events", content=slow(), headers=JSON)
    assert problem(response, 408)["code"] == "body_too_slow"


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_another_content_type_is_a_415(client: httpx.AsyncClient, content_type: str) -> None:
    problem(await client.post("/v1/events", content=b"{}", headers={"Content-Type": content_type}), 415)


async def test_another_method_is_a_405_and_another_path_a_404(client: httpx.AsyncClient) -> None:
    problem(await client.get("/v1/events"), 405)
    problem(await client.get("/v1/nothing"), 404)


@pytest.mark.parametrize(("path", "body"), [("/v1/events", {"events": [event()]}), ("/v1/posts", {"posts": [post()]})])
async def test_without_a_broker_a_good_request_is_a_503_with_retry_after(
    client: httpx.AsyncClient, path: str, body: dict[str, Any]
) -> None:
    response = await client.post(path, json=body)
    assert problem(response, 503)["code"] == "broker_away"
    assert response.headers["retry-after"] == "3"


async def test_without_a_broker_the_service_is_alive_and_not_ready(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).status_code == 200
    readiness = await client.get("/readyz")
    assert (readiness.status_code, readiness.json()["status"]) == (503, "not ready")


async def test_the_documentation_shows_every_answer_and_the_limits(client: httpx.AsyncClient) -> None:
    schema = (await client.get("/openapi.json")).json()
    assert (await client.get("/docs")).status_code == 200
    for path in ("/v1/events", "/v1/posts"):
        assert set(schema["paths"][path]["post"]["responses"]) == {
            *("202", "400", "408", "413", "415", "422", "429", "503")
        }
    events = schema["components"]["schemas"]["EventsRequest"]["properties"]["events"]
    assert (events["minItems"], events["maxItems"]) == (1, 1000)
    assert set(events["items"]["discriminator"]["mapping"]) >= {"dwell", "rate", "like"}


async def test_a_request_refused_before_it_is_routed_is_counted_under_its_route(client: httpx.AsyncClient) -> None:
    line = 'slop_http_request_seconds_count{method="POST",route="/v1/posts",status="415"}'

    async def count() -> float:
        lines = (await client.get("/metrics")).text.splitlines()
        return sum(float(found.removeprefix(line)) for found in lines if found.startswith(line))

    before = await count()
    await client.post("/v1/posts", content=b"", headers={"Content-Type": "text/plain"})
    assert await count() == before + 1
