"""A trainer, in a process of its own that gives way to every other one."""

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Final

from jobs.settings import JobsSettings

REFUSED: Final = 3  # what trainers end with where what they made is no better
STOP_S: Final = 10.0
NICE: Final = 10


@contextmanager
def running(
    command: Sequence[str], settings: JobsSettings, output: IO[bytes], inherited: Sequence[int] = ()
) -> Iterator["subprocess.Popen[bytes]"]:
    """A process in a group of its own, gone when the block ends; `inherited` are files that it keeps open."""
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
    """The caller's settings, as a trainer reads them."""
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
