"""A command of `training`, in a process of its own with a lower priority than the services have."""

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Final

from jobs.settings import JobsSettings

STOP_S: Final = 10.0
NICE: Final = 10


@contextmanager
def running(
    command: Sequence[str], settings: JobsSettings, output: IO[bytes], inherited: Sequence[int] = ()
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command while the block lasts; when the block ends, the process is stopped if it still runs.

    Args:
        command: with its arguments.
        settings: where Kafka and the basis are, which the process is told by its environment.
        output: file for what it prints.
        inherited: descriptors of files that it keeps open.
    """
    process = subprocess.Popen(  # noqa: S603
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=os.environ | _environment(settings),
        pass_fds=inherited,
        process_group=0,
    )
    try:
        os.setpriority(os.PRIO_PGRP, process.pid, NICE)
        yield process
    finally:
        _end(process)


def _environment(settings: JobsSettings) -> dict[str, str]:
    """The caller's settings, as the environment of a training command."""
    return {
        "PYTHONUNBUFFERED": "1",
        "SLOP_BASIS_DIR": str(settings.basis_dir),
        "SLOP_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
    }


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(STOP_S)
