"""`python -m jobs beat` sends the periodic jobs until SIGTERM. There must be one beat only."""

import sys
import time
from functools import partial
from typing import Any, Final

import structlog
from celery.beat import PersistentScheduler

from jobs.app import BEAT_INTERVAL_S, app
from jobs.redis_clients import connected
from jobs.settings import JobsSettings
from kit.worker import health_server, in_thread
from slop.redis.writable import require_writable

LONGEST_PAUSE_S: Final = 6 * BEAT_INTERVAL_S

log = structlog.get_logger(__name__)


class NotBeating(RuntimeError):  # noqa: N818
    """The scheduler has not looked for due jobs for too long."""


class Heartbeat:
    """Remembers when the scheduler last looked for due jobs."""

    def __init__(self) -> None:
        self._at = time.monotonic()

    def beat(self) -> None:
        """It looks now."""
        self._at = time.monotonic()

    def check(self) -> None:
        """Raise NotBeating if that was too long ago."""
        pause_s = time.monotonic() - self._at
        if pause_s > LONGEST_PAUSE_S:
            raise NotBeating(f"no beat for {pause_s:.0f} s")


HEARTBEAT: Final = Heartbeat()


class BeatingScheduler(PersistentScheduler):  # type: ignore[misc]
    """Celery's own scheduler, whose file says when each job was last sent, with a heartbeat."""

    def tick(self, *args: Any, **kwargs: Any) -> Any:
        """Send what is due; returns the seconds until it should be called again."""
        HEARTBEAT.beat()
        return super().tick(*args, **kwargs)


def run(settings: JobsSettings) -> None:
    """Send jobs until SIGTERM or SIGINT.

    Raises:
        OSError: the port is taken, or the folder for the schedule can't be made.
    """
    settings.jobs_dir.mkdir(parents=True, exist_ok=True)
    with connected(settings.broker_url, settings) as broker:
        checks = {"broker": in_thread(partial(require_writable, broker, "beat")), "beat": in_thread(HEARTBEAT.check)}
        with health_server(settings.host, settings.beat_port, checks) as port:
            log.info("beat started", port=port)
            app.Beat(
                schedule=str(settings.jobs_dir / "beat-schedule"),
                scheduler_cls=BeatingScheduler,
                loglevel=settings.log_level,
                socket_timeout=0,  # every client has its own
                quiet=True,
            ).run()


def main(settings: JobsSettings) -> None:
    """Run the process."""
    try:
        run(settings)
    except OSError as error:
        sys.exit(f"beat: {error}")
