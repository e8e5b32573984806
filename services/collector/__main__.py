"""`python -m collector` serves the collector until SIGTERM or SIGINT."""

from collector.app import create_app
from collector.settings import CollectorSettings
from kit.serving import serve
from slop.process_logs import configure_process_logs


def main() -> None:
    """Read the settings and serve."""
    settings = CollectorSettings()
    configure_process_logs("collector", settings)
    serve(
        create_app(settings),
        settings.host,
        settings.collector_port,
        shutdown_s=settings.collector_shutdown_s,
        keep_alive_s=settings.http_keep_alive_s,
    )


if __name__ == "__main__":
    main()
