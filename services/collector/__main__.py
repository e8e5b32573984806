"""`python -m collector` serves the collector until SIGTERM or SIGINT."""

from collector.app import create_app
from collector.settings import CollectorSettings
from kit.logs import configure_logs
from kit.serving import serve


def main() -> None:
    """Read the settings and serve."""
    settings = CollectorSettings()
    configure_logs("collector", settings.log_level, settings.log_format)
    serve(create_app(settings), settings.host, settings.collector_port, settings.collector_shutdown_s)


if __name__ == "__main__":
    main()
