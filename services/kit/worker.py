"""What a worker without an HTTP API of its own needs: a stop flag, a health server, retries while others are away."""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

import structlog
import uvicorn
from fastapi import APIRouter, FastAPI

from kit.health import Check, health_router
from kit.problems import install_problems

T = TypeVar("T")

FIRST_WAIT_S: Final = 0.1
LONGEST_WAIT_S: Final = 5.0
HEALTH_REQUESTS: Final = 32
SHUTDOWN_S: Final = 3.0

log = structlog.get_logger(__name__)


class Stopped(Exception):  # noqa: N818
    """The worker was told to stop while it waited."""


def stop_on_signals() -> threading.Event:
    """A flag that SIGTERM and SIGINT set; call it in the main thread."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def retry(
    action: Callable[[], T], on: tuple[type[Exception], ...], stop: threading.Event, what: str, **context: object
) -> T:
    """Do an action until it succeeds, waiting longer after every failure, at most LONGEST_WAIT_S.

    By hand, since tenacity looks whether to stop only after another attempt, which may take seconds.

    Args:
        action: what to do; it may be done many times, so it must be safe to repeat.
        on: errors that say that a dependency is away; every other error is raised.
        stop: ends the waiting.
        what: the action's name in the logs.
        context: more for the logs.

    Raises:
        Stopped: `stop` was set before the action succeeded.
    """
    wait_s = FIRST_WAIT_S
    while not stop.is_set():
        try:
            return action()
        except on as error:
            log.warning("retrying", what=what, error=f"{type(error).__name__}: {error}", wait_s=wait_s, **context)
        stop.wait(wait_s)
        wait_s = min(2 * wait_s, LONGEST_WAIT_S)
    raise Stopped(what)


def end_process(_: Exception) -> None:
    """End at once, so that the process is started again whole."""
    os._exit(1)


def worker_thread(
    name: str,
    run: Callable[[threading.Event], object],
    stop: threading.Event,
    failed: Callable[[Exception], object] = end_process,
) -> threading.Thread:
    """Run a worker in a thread until `stop` is set; what it fails with is logged, then `failed` is called with it."""

    def work() -> None:
        try:
            run(stop)
        except Stopped:
            log.info("stopped while at work; what is left will come again", worker=name)
        except Exception as error:
            log.exception("worker failed", worker=name)
            failed(error)

    thread = threading.Thread(target=work, name=name)
    thread.start()
    return thread


def in_thread(check: Callable[[], object]) -> Check:
    """A health check from a function that blocks and raises when the dependency does not answer."""

    async def run() -> None:
        await asyncio.to_thread(check)

    return run


@contextmanager
def health_server(
    host: str, port: int, checks: dict[str, Check], *routers: APIRouter, requests: int = HEALTH_REQUESTS
) -> Iterator[int]:
    """Serve /healthz, /readyz, /metrics and more routes from a thread; yields the port, a free one if `port` is 0.

    At most `requests` are taken at a time.

    Raises:
        OSError: the port is taken.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    install_problems(app)
    for router in (health_router(checks), *routers):
        app.include_router(router)
    config = uvicorn.Config(app, log_config=None, access_log=False, limit_concurrency=requests)
    server = uvicorn.Server(config)
    with socket.create_server((host, port)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="health", daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(SHUTDOWN_S)
