"""`python -m collector` serves the collector until SIGTERM or SIGINT."""

import math

import uvicorn

from collector.app import create_app
from collector.settings import CollectorSettings
from kit.logs import configure_logs


def main() -> None:
    """Read the settings and serve."""
    settings = CollectorSettings()
    configure_logs("collector", settings.log_level, settings.log_format)
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.collector_port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=math.ceil(settings.collector_shutdown_s),
    )


if __name__ == "__main__":
    main()
