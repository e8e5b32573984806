"""Rate, errors and duration of a service's HTTP requests, for Prometheus.

By hand, since prometheus-fastapi-instrumentator counts a client that leaves before the answer as a 500 of the service.
"""

import time
from collections.abc import Iterator, Sequence
from http import HTTPMethod, HTTPStatus
from typing import Final

from fastapi import FastAPI
from fastapi.routing import APIRoute
from prometheus_client import Gauge, Histogram
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kit.health import HEALTH_PATHS

OTHER: Final = "other"

SECONDS: Final = Histogram(
    "slop_http_request_seconds",
    "From a request to the end of its answer, the body's arrival included.",
    ["method", "route", "status"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60),
)
IN_FLIGHT: Final = Gauge("slop_http_requests_in_flight", "Requests that are not answered to the end.")


def observe_requests(app: FastAPI) -> None:
    """Observe the requests to an app, but those of health checks; call it last, so that other middleware is within."""
    app.add_middleware(RequestMetrics, routes=app.routes)
    for route in app.routes:
        if isinstance(route, APIRoute) and route.path not in HEALTH_PATHS:
            for method in route.methods:
                SECONDS.labels(method, route.path_format, str(int(route.status_code or HTTPStatus.OK)))


class RequestMetrics:
    """ASGI middleware that observes requests by the template of their route, whatever is answered and by whom."""

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        self._app, self._routes = app, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and observe the answer; a request whose client leaves before any is not observed."""
        if scope["type"] != "http" or scope["path"] in HEALTH_PATHS:
            await self._app(scope, receive, send)
            return
        status, begin = 0, time.perf_counter()

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            with IN_FLIGHT.track_inprogress():
                await self._app(scope, receive, observed)
        except Exception:
            status = status or HTTPStatus.INTERNAL_SERVER_ERROR
            raise
        finally:
            if status:
                SECONDS.labels(*self._named(scope), str(int(status))).observe(time.perf_counter() - begin)

    def _named(self, scope: Scope) -> tuple[str, str]:
        """Method and route, out of bounded sets, since both come from outside."""
        method = scope["method"] if scope["method"] in HTTPMethod.__members__ else OTHER
        return method, next(self._matching(scope), OTHER)

    def _matching(self, scope: Scope) -> Iterator[str]:
        """The templates of the routes at a path, the one of its method first."""
        matches = [(route.matches(scope)[0], getattr(route, "path_format", OTHER)) for route in self._routes]
        for wanted in (Match.FULL, Match.PARTIAL):
            yield from (path for match, path in matches if match is wanted)
