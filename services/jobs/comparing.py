"""Whether a basis may take the live one's place, by what readers did."""

import sys
from collections.abc import Callable
from tempfile import TemporaryFile

from jobs.settings import JobsSettings
from jobs.training_process import REFUSED, running
from slop.rollout.live import BasisRef


class NotBetter(ValueError):  # noqa: N818
    """The basis ranks no better, or too few readers can tell; the message has the figures."""


class NotCompared(RuntimeError):  # noqa: N818
    """The comparison came to no end; the message has its last words."""


def compared(live: BasisRef, following: BasisRef, settings: JobsSettings, pause: Callable[[], None]) -> str:
    """Compare a basis that has learned the log with the live one; returns the figures.

    Args:
        live: the live basis.
        following: the one that is to take its place.
        settings: where Kafka is.
        pause: called all the time while it lasts, which is some seconds for a million signals.

    Raises:
        NotBetter: it is not clearly better.
        NotCompared: the comparison failed.
    """
    command = [sys.executable, "-m", "training.comparison", "--live", live.folder, "--next", following.folder]
    with TemporaryFile() as output, running(command, settings, output) as process:
        while process.poll() is None:
            pause()
        output.seek(0)
        said = output.read().decode(errors="replace").strip()
    if process.returncode == REFUSED:
        raise NotBetter(said.splitlines()[-1])
    if process.returncode != 0:
        raise NotCompared(f"{command[2]} ended with {process.returncode}: {said}")
    return said
