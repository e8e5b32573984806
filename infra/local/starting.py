"""Starting parts of the stack by the supervisor, waiting until they answer, and stopping them."""

import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final

import psutil
from rich.console import Console

from infra.local import ports
from infra.local.parts import Part
from infra.local.settings import ROOT, LocalSettings
from infra.local.supervisor import STOP_S, log_folder

POLL_S: Final = 0.25
SILENT_S: Final = 5.0  # where nobody sees the status change: a line at least this often
LONGER_S: Final = 10  # more patience than the supervisor has, which ends by itself
LOG_LINES: Final = 20


class StackFailed(RuntimeError):  # noqa: N818
    """The stack can't start, or ended by itself; the message says why."""


def check_ports(here: Sequence[Part]) -> None:
    """Check that what is to be started can listen.

    Raises:
        StackFailed: ports are taken; the message names them, who has them, and the settings that choose others.
    """
    taken = [_taken(part) for part in here if ports.is_open(part.host, part.port)]
    if taken:
        raise StackFailed("\n".join(taken))


def _taken(part: Part) -> str:
    owner = ports.owner(part.port)
    by = f"by {owner}" if owner else "by a process that this user can't see"
    return f"port {part.port}, for {part.name}, is taken {by}: end that, or choose another port, say {part.setting}"


@contextmanager
def started(
    some: Sequence[Part], settings: LocalSettings, console: Console, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """Start the parts that are for this machine, wait until all answer, and stop them when the block ends.

    Args:
        some: lines of the Procfile.
        settings: where logs are, and how long to wait.
        console: told what is ready.
        environment: what the parts are told besides what this process was.

    Raises:
        StackFailed: a port is taken, or a part does not become ready.
    """
    here = [part for part in some if part.is_here]
    check_ports(here)
    process = subprocess.Popen(
        [sys.executable, "-m", "infra.local.supervisor", *(part.name for part in here)],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for us, who then stop it in order
    )
    try:
        _wait_ready(some, process, settings, console)
        yield process
    finally:
        _stop(process, console)


def _wait_ready(
    some: Sequence[Part], process: subprocess.Popen[str], settings: LocalSettings, console: Console
) -> None:
    begin = told_at = time.monotonic()
    waiting = list(some)
    with console.status("") as status:
        while waiting:
            seconds = time.monotonic() - begin
            if process.poll() is not None:
                raise failure(process, settings)
            if seconds > settings.start_timeout_s:
                raise StackFailed(_not_ready(waiting, settings))
            line = f"{seconds:3.0f} s, waiting for {', '.join(part.name for part in waiting)} (vLLM: 45 s)"
            status.update(line)
            if not console.is_terminal and time.monotonic() - told_at >= SILENT_S:
                console.print(line, highlight=False, soft_wrap=True)
                told_at = time.monotonic()
            for part in [part for part in waiting if part.answers()]:
                waiting.remove(part)
                console.print(f"{part.name:<11} ready after {time.monotonic() - begin:.1f} s", highlight=False)
                told_at = time.monotonic()
            time.sleep(POLL_S)


def failure(process: subprocess.Popen[str], settings: LocalSettings) -> StackFailed:
    """Wait for as long as the supervisor runs; returns which part ended, and its last lines."""
    report, _ = process.communicate()
    try:
        name, code = json.loads(report)["first_ended"]
    except (ValueError, TypeError):
        return StackFailed(f"the supervisor ended with {process.returncode}; logs are in {log_folder(settings)}")
    return StackFailed(f"{name} ended with {code}; everything was stopped. Its last lines:\n{_tail(name, settings)}")


def _not_ready(waiting: Sequence[Part], settings: LocalSettings) -> str:
    lines = [f"{part.name} is not ready. Its last lines:\n{_tail(part.name, settings)}" for part in waiting]
    return "\n".join(lines)


def _tail(name: str, settings: LocalSettings) -> str:
    path = log_folder(settings) / f"{name}.log"
    with suppress(FileNotFoundError), path.open(errors="replace") as log:
        return f"{''.join(deque(log, LOG_LINES))}(all of it: {path})"
    return "(it said nothing)"


def _stop(process: subprocess.Popen[str], console: Console) -> None:
    if process.poll() is None:
        console.print("stopping everything ...")
    process.terminate()
    try:
        process.communicate(timeout=STOP_S + LONGER_S)
    except subprocess.TimeoutExpired:
        _kill_all(process)


def _kill_all(process: subprocess.Popen[str]) -> None:
    family = psutil.Process(process.pid)
    for member in [family, *family.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    process.communicate()
