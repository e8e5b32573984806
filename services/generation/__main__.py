"""`python -m generation` serves the API until SIGTERM or SIGINT."""

from generation.app import create_app
from generation.settings import Settings
from kit.logs import configure_logs
from kit.serving import serve


def main() -> None:
    """Read the settings and serve."""
    settings = Settings()
    configure_logs("generation", settings.log_level, settings.log_format)
    serve(create_app(settings), settings.host, settings.generation_port, settings.shutdown_timeout_s)


if __name__ == "__main__":
    main()
