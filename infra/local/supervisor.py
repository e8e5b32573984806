"""`python -m infra.local.supervisor NAME...` runs parts of the Procfile under honcho until one ends or SIGTERM comes.

Each part's output goes to a file of its own. At the end it prints, as one JSON document, which part ended first.
`infra.local.up` starts it; it ends with the process that started it, whatever becomes of that.
"""

import ctypes
import json
import os
import re
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

import honcho.manager
from honcho.environ import parse_procfile

from infra.local.settings import ROOT, LocalSettings

SERVERS: Final = frozenset({"redis", "kafka", "vllm"})
STOP_S: Final = 15  # from the first part that ended to SIGKILL for the rest
SET_PARENT_DEATH_SIGNAL: Final = 1  # PR_SET_PDEATHSIG of prctl(2)
_ENDED = re.compile(r"(\S+) stopped \(rc=(-?\d+)\)")


class LogFiles:
    """A printer for honcho: a log file for each part, and `system.log` for what honcho itself says.

    Attributes:
        first_ended: name and exit status of the part that ended first.
        on_change: called when a part has started or ended.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.width = 0  # honcho sets it
        self.first_ended: tuple[str, int] | None = None
        self.on_change: Callable[[], None] = lambda: None
        self._folder = folder
        self._files: dict[str, IO[bytes]] = {}

    def write(self, message: Any) -> None:
        """Append honcho's message to its file."""
        data = message.data if isinstance(message.data, bytes) else message.data.encode()
        self._file(message.name).write(data)
        if message.name == honcho.manager.SYSTEM_PRINTER_NAME:
            self._note(data.decode())

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    def _note(self, line: str) -> None:
        ended = _ENDED.match(line)
        if ended and self.first_ended is None:
            self.first_ended = ended[1], int(ended[2])
        self.on_change()

    def _file(self, name: str) -> IO[bytes]:
        if name not in self._files:
            self._files[name] = (self._folder / f"{name}.log").open("wb", buffering=0)
        return self._files[name]


class Manager(honcho.manager.Manager):  # type: ignore[misc]
    """honcho's manager, which ends services first, and the servers that they still write to when none is left.

    honcho's own ends everything at once, and forgets a signal that comes before everything was started.
    """

    def __init__(self, logs: LogFiles) -> None:
        super().__init__(logs)
        self._asked: set[str] = set()
        logs.on_change = self._go_on

    def terminate(self) -> None:
        """Begin to end all parts."""
        self._terminating = True
        self._go_on()

    def _go_on(self) -> None:
        if not self._terminating or not self._all_started():
            return
        running = {name for name, part in self._processes.items() if "returncode" not in part}
        for name in (running - SERVERS or running) - self._asked:
            self._asked.add(name)
            self._procmgr.terminate(self._processes[name]["pid"])


def log_folder(settings: LocalSettings) -> Path:
    """Where the parts' logs are."""
    return settings.run_dir / "logs"


def end_with_parent() -> None:
    """Be sent SIGTERM when the process that started this one ends, if the system can do that (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)


def main() -> None:
    """Run the parts that the command line names."""
    end_with_parent()
    commands = parse_procfile((ROOT / "Procfile").read_text()).processes
    logs = LogFiles(log_folder(LocalSettings()))
    honcho.manager.KILL_WAIT = STOP_S
    manager = Manager(logs)
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for name in sys.argv[1:]:
        manager.add_process(name, commands[name], env=environment, cwd=str(ROOT))
    manager.loop()
    logs.close()
    with suppress(BrokenPipeError):  # whoever started it is gone
        os.write(sys.stdout.fileno(), json.dumps({"first_ended": logs.first_ended}).encode())


if __name__ == "__main__":
    main()
