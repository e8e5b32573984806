"""The application."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from collector.errors import Refused, problem_of
from collector.guard import BodyGuard
from collector.intake import Intake
from collector.publisher import Publisher
from collector.routes import EVENTS_PATH, POSTS_PATH, routes
from collector.settings import CollectorSettings
from collector.timing import Timing
from kit.health import health_router
from kit.problems import install_problems


def create_app(settings: CollectorSettings) -> FastAPI:
    """The collector; its publisher lives as long as the application runs."""
    publisher = Publisher(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        publisher.start()
        yield
        await asyncio.to_thread(publisher.close)

    async def refuse(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Refused)  # noqa: S101
        return problem_of(error, settings.collector_retry_after_s).response()

    app = FastAPI(
        title="SLOP collector", version=_version(), summary="Takes interactions and posts.", lifespan=lifespan
    )
    install_problems(app)
    app.add_exception_handler(Refused, refuse)
    app.include_router(routes(Intake(publisher, settings.tenant)))
    app.include_router(health_router({"kafka": publisher.ready}))
    app.add_middleware(BodyGuard, settings=settings)
    app.add_middleware(Timing, paths=(EVENTS_PATH, POSTS_PATH))
    return app


def _version() -> str:
    try:
        return version("slop")
    except PackageNotFoundError:  # run from the source tree
        return "0"
