"""The logs of a process of SLOP."""

import structlog

from kit.logs import configure_logs
from slop.settings import CommonSettings, formerly_named

log = structlog.get_logger(__name__)


def configure_process_logs(process: str, settings: CommonSettings) -> None:
    """Log as the settings say; one warning tells which of them are set under former names."""
    configure_logs(process, settings.log_level, settings.log_format)
    if renamed := {one.former: one.present for one in formerly_named(type(settings))}:
        log.warning("settings are set under former names", renamed=renamed)
