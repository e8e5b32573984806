"""`python -m generation` serves the API until SIGTERM or SIGINT."""

import uvicorn

from generation.app import create_app
from generation.settings import Settings
from kit.logs import configure_logs


def main() -> None:
    """Serve."""
    settings = Settings()
    configure_logs("generation", settings.log_level, settings.log_format)
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.generation_port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=settings.shutdown_timeout_s,
    )


if __name__ == "__main__":
    main()
