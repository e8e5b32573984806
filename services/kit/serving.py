"""How a FastAPI service is served."""

import math

import uvicorn
from fastapi import FastAPI


def serve(app: FastAPI, host: str, port: int, shutdown_s: float) -> None:
    """Serve an app until SIGTERM or SIGINT, then give running requests `shutdown_s` to end."""
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=math.ceil(shutdown_s),
    )
