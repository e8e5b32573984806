"""How long requests take, for Prometheus."""

import time
from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from collector import metrics


class Timing:
    """ASGI middleware: observes the requests to `paths`, whatever is answered."""

    def __init__(self, app: ASGIApp, paths: Collection[str]) -> None:
        self._app, self._paths = app, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and observe the answer's status."""
        if scope["type"] != "http" or scope["path"] not in self._paths:
            await self._app(scope, receive, send)
            return
        begin = time.perf_counter()

        async def observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                seconds = time.perf_counter() - begin
                metrics.REQUEST_SECONDS.labels(scope["path"], message["status"]).observe(seconds)
            await send(message)

        await self._app(scope, receive, observed)
