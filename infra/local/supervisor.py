"""`python -m infra.local.supervisor NAME...` runs parts of the Procfile until one ends or SIGTERM comes.

Each part's output goes to a file of its own. At the end it prints, as one JSON document, which part ended first.
`infra.local.up` starts it; it ends with the process that started it, whatever becomes of that.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from infra.local.settings import ROOT, LocalSettings

SERVERS: Final = frozenset({"redis", "kafka", "vllm"})
POLL_S: Final = 0.1
STOP_S: Final = 15  # from SIGTERM, or the first part that ended, to SIGKILL for the rest
SET_PARENT_DEATH_SIGNAL: Final = 1  # PR_SET_PDEATHSIG of prctl(2)


class Supervisor:
    """Runs parts, each in a process group of its own, until all have ended.

    When one ends, or SIGTERM comes, the services are ended first, and the servers that they still write to when no
    service is left.

    Attributes:
        first_ended: name and exit status of the part that ended first; minus the signal's number if one ended it.
    """

    def __init__(self) -> None:
        self.first_ended: tuple[str, int] | None = None
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._terminated: set[str] = set()
        self._stopped_at: float | None = None  # when stopping began, on the monotonic clock

    def stop(self, *_: object) -> None:
        """Begin to end all parts; a signal handler."""
        self._stopped_at = self._stopped_at or time.monotonic()

    def run(self, names: Sequence[str], logs: Path) -> None:
        """Start lines of the Procfile, with their output in NAME.log of the folder `logs`; returns when all have ended.

        Raises:
            KeyError: the Procfile has no such line.
        """
        commands = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = os.environ | {"PYTHONUNBUFFERED": "1", "PATH": path}
        logs.mkdir(parents=True, exist_ok=True)
        for name in names:
            with (logs / f"{name}.log").open("wb") as log:
                self._running[name] = subprocess.Popen(
                    ["/bin/sh", "-c", commands[name]],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    cwd=ROOT,
                    start_new_session=True,
                )
        while self._running:
            self._look()
            time.sleep(POLL_S)

    def _look(self) -> None:
        for name, process in list(self._running.items()):
            if process.poll() is not None:
                del self._running[name]
                self.first_ended = self.first_ended or (name, process.returncode)
                self.stop()
        if self._stopped_at is None:
            return
        if time.monotonic() - self._stopped_at > STOP_S:
            self._signal(self._running.keys(), signal.SIGKILL)
        else:
            to_end = (self._running.keys() - SERVERS or self._running.keys()) - self._terminated
            self._terminated |= to_end
            self._signal(to_end, signal.SIGTERM)

    def _signal(self, names: Collection[str], number: signal.Signals) -> None:
        for name in names:
            with suppress(ProcessLookupError):  # it has just ended
                os.killpg(self._running[name].pid, number)


def log_folder(settings: LocalSettings) -> Path:
    """Where the parts' logs are."""
    return settings.run_dir / "logs"


def end_with_parent() -> None:
    """Be sent SIGTERM when the process that started this one ends, if the system can do that (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)


def main() -> None:
    """Run the parts that the command line names."""
    supervisor = Supervisor()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, supervisor.stop)
    end_with_parent()
    supervisor.run(sys.argv[1:], log_folder(LocalSettings()))
    with suppress(BrokenPipeError):  # whoever started it is gone
        os.write(sys.stdout.fileno(), json.dumps({"first_ended": supervisor.first_ended}).encode())


if __name__ == "__main__":
    main()
