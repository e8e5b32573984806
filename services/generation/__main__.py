"""`python -m generation` serves the API until SIGTERM or SIGINT."""

from generation.app import create_app
from generation.settings import Settings
from kit.serving import serve
from slop.process_logs import configure_process_logs


def main() -> None:
    """Read the settings and serve."""
    settings = Settings()
    configure_process_logs("generation", settings)
    serve(
        create_app(settings),
        settings.host,
        settings.generation_port,
        shutdown_s=settings.generation_shutdown_s,
        keep_alive_s=settings.http_keep_alive_s,
    )


if __name__ == "__main__":
    main()
