"""How a FastAPI service is made and served."""

import math
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline


def documented_app(**options: Any) -> FastAPI:
    """A FastAPI application whose `/docs` needs nothing from the internet.

    There is no `/redoc`: its script loads a picture from elsewhere.

    Args:
        options: of `FastAPI`.
    """
    return FastAPIOffline(redoc_url=None, **options)


def serve(app: FastAPI, host: str, port: int, *, shutdown_s: float, keep_alive_s: int) -> None:
    """Serve an app until SIGTERM or SIGINT, then give running requests `shutdown_s` to end.

    Args:
        app: what is served.
        host: the address to listen on.
        port: the port to listen on.
        shutdown_s: seconds; rounded up.
        keep_alive_s: seconds after which an idle connection is closed. It must be longer than a proxy keeps it, or else
            a request that the proxy sends meanwhile is lost.
    """
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        timeout_keep_alive=keep_alive_s,
        timeout_graceful_shutdown=math.ceil(shutdown_s),
    )
