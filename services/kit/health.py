"""`/healthz`, `/readyz` and `/metrics` for FastAPI services."""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, Gauge, generate_latest

Check = Callable[[], Awaitable[None]]

HEALTH_PATHS: Final = frozenset({"/healthz", "/readyz", "/metrics"})

READY: Final = Gauge("slop_ready", "1 where the process is ready, as its /readyz says; looked at with every scrape.")
CHECKS: Final = Gauge("slop_check_ok", "1 where a check of /readyz is ok.", ["check"])


async def _outcome(check: Check, timeout_s: float) -> str:
    try:
        await asyncio.wait_for(check(), timeout_s)
    except Exception as error:  # whatever a dependency raises, it is not ready
        return f"{type(error).__name__}: {error}"
    return "ok"


async def _outcomes(checks: dict[str, Check], timeout_s: float) -> dict[str, str]:
    outcomes = await asyncio.gather(*(_outcome(check, timeout_s) for check in checks.values()))
    return dict(zip(checks, outcomes, strict=True))


def health_router(
    checks: dict[str, Check], timeout_s: float = 1.0, degradable: dict[str, Check] | None = None
) -> APIRouter:
    """Routes that say whether the service is alive, and whether it gets on: whether each check is ok in `timeout_s`.

    Args:
        checks: what the service can't work without.
        timeout_s: for each check.
        degradable: what it works without, though less well; reported, and no reason to send it no requests.
    """
    router = APIRouter(tags=["health"])

    @router.head("/healthz", include_in_schema=False)
    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Alive."""
        return {"status": "ok"}

    async def look() -> tuple[bool, dict[str, str]]:
        """Whether it is ready, and what came of each check."""
        outcomes = await _outcomes(checks | (degradable or {}), timeout_s)
        ready = all(outcomes[name] == "ok" for name in checks)
        READY.set(ready)
        for name, outcome in outcomes.items():
            CHECKS.labels(name).set(outcome == "ok")
        return ready, outcomes

    @router.head("/readyz", include_in_schema=False)
    @router.get("/readyz", responses={503: {"description": "something that it can't work without is not ok"}})
    async def readyz() -> JSONResponse:
        """Every dependency that the service can't work without does what is needed of it, and the work goes on."""
        ready, outcomes = await look()
        status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        return JSONResponse({"status": "ready" if ready else "not ready", "checks": outcomes}, status)

    @router.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        await look()
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return router
