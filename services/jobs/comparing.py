"""Compares a basis with the live one, by readers' reactions, before it takes the live one's place."""

import sys
from collections.abc import Callable
from tempfile import TemporaryFile

from jobs.settings import JobsSettings
from jobs.training_process import running
from slop.exit_status import REFUSED
from slop.rollout.live import BasisRef


class NotBetter(ValueError):  # noqa: N818
    """The basis ranks no better, or too few readers can tell; the message has the figures."""


class NotCompared(RuntimeError):  # noqa: N818
    """The comparison failed; the message has the end of its output."""


def compared(live: BasisRef, following: BasisRef, settings: JobsSettings, pause: Callable[[], None]) -> str:
    """Compare a basis that has learned the log with the live one; returns the figures.

    Args:
        live: the live basis.
        following: the one that is to take its place.
        settings: where Kafka is.
        pause: called again and again while the comparison runs, which takes seconds for a million signals.

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
