import re

import httpx
import pytest
from fastapi import FastAPI

from kit.health import health_router
from kit.serving import documented_app


def client_of(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_health_answers_head_as_get(path: str) -> None:
    async def away() -> None:
        raise ConnectionError("away")

    app = documented_app()
    app.include_router(health_router({"engine": away} if path == "/readyz" else {}))
    async with client_of(app) as client:
        head, get = await client.head(path), await client.get(path)
    assert head.status_code == get.status_code == (503 if path == "/readyz" else 200)


async def test_docs_name_no_foreign_host_and_have_what_they_name() -> None:
    app = documented_app(title="SLOP")
    async with client_of(app) as client:
        page = await client.get("/docs")
        assert page.status_code == 200
        assert not re.findall(r"(?:https?:)?//[a-z]", page.text.replace("window.location", ""))
        named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert len(named) >= 3
        for path in named:
            assert (await client.get(path)).status_code == 200
        assert (await client.get("/redoc")).status_code == 404
