"""`/healthz`, `/readyz` and `/metrics` for FastAPI services."""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

Check = Callable[[], Awaitable[None]]


async def _outcome(check: Check, timeout_s: float) -> str:
    try:
        await asyncio.wait_for(check(), timeout_s)
    except Exception as error:  # whatever a dependency raises, it is not ready
        return f"{type(error).__name__}: {error}"
    return "ok"


def health_router(checks: dict[str, Check], timeout_s: float = 1.0) -> APIRouter:
    """Routes that say whether the service is alive and whether each dependency answers within `timeout_s`."""
    router = APIRouter(tags=["health"])

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Alive."""
        return {"status": "ok"}

    @router.get("/readyz", responses={503: {"description": "a dependency does not answer"}})
    async def readyz() -> JSONResponse:
        """Every dependency answers."""
        outcomes = await asyncio.gather(*(_outcome(check, timeout_s) for check in checks.values()))
        ready = all(outcome == "ok" for outcome in outcomes)
        status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        body = {"status": "ready" if ready else "not ready", "checks": dict(zip(checks, outcomes, strict=True))}
        return JSONResponse(body, status)

    @router.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return router
