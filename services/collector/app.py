"""The application."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from collector import metrics
from collector.errors import Refused, problem_of
from collector.intake import Intake
from collector.routes import routes
from collector.settings import CollectorSettings
from kit.body_guard import BodyGuard
from kit.health import health_router
from kit.problems import install_problems
from kit.request_metrics import observe_requests
from kit.serving import documented_app
from slop.kafka.publisher import Publisher, PublisherLimits


def create_app(settings: CollectorSettings) -> FastAPI:
    """The collector; its publisher lives as long as the application runs."""
    publisher = Publisher(settings.kafka_bootstrap, "slop-collector", _limits(settings))
    metrics.watch(publisher)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        publisher.start()
        yield
        await asyncio.to_thread(publisher.close)

    async def refuse(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Refused)  # noqa: S101
        return problem_of(error, settings.collector_retry_after_s).response()

    app = documented_app(
        title="SLOP collector", version=_version(), summary="Takes interactions and posts.", lifespan=lifespan
    )
    install_problems(app)
    app.add_exception_handler(Refused, refuse)
    app.include_router(routes(Intake(publisher, settings.tenant)))
    app.include_router(health_router({"kafka": publisher.check}))
    app.add_middleware(
        BodyGuard,
        max_bytes=settings.collector_body_bytes,
        timeout_s=settings.collector_body_timeout_s,
        retry_after_s=settings.collector_retry_after_s,
    )
    observe_requests(app)
    return app


def _limits(settings: CollectorSettings) -> PublisherLimits:
    return PublisherLimits(
        queue_bytes=settings.collector_queue_bytes,
        ack_timeout_s=settings.collector_ack_timeout_s,
        max_block_ms=settings.collector_max_block_ms,
        linger_ms=settings.collector_linger_ms,
        reconnect_s=settings.collector_reconnect_s,
        shutdown_s=settings.collector_shutdown_s,
    )


def _version() -> str:
    try:
        return version("slop")
    except PackageNotFoundError:  # run from the source tree
        return "0"
