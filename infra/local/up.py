"""`python -m infra.local.up` starts the stack on this machine, says when it is ready, and stops all of it on Ctrl-C.

A program that needs the stack uses `with running_stack() as stack:`.
"""

import argparse
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

from rich.console import Console
from rich.table import Table

from infra.local import kafka
from infra.local.parts import Part, parts
from infra.local.settings import ROOT, LocalSettings
from infra.local.starting import StackFailed, check_ports, failure, started
from infra.local.supervisor import log_folder
from infra.models.conversion import PackagedModel
from infra.models.embedder import EMBEDDER
from infra.models.model import BASE_MODEL
from infra.models.packages import MissingBinary


@dataclass(frozen=True, slots=True)
class LocalStack:
    """A stack that answers.

    Attributes:
        parts: what was asked for.
        process: the supervisor, or None if the stack ran before and is somebody else's to stop.
    """

    settings: LocalSettings
    parts: Sequence[Part]
    process: subprocess.Popen[str] | None

    @property
    def collector_url(self) -> str:
        """Where interactions and posts are sent."""
        return f"http://{self.settings.host}:{self.settings.collector_port}"

    @property
    def generation_url(self) -> str:
        """Where posts are asked for."""
        return f"http://{self.settings.host}:{self.settings.generation_port}"

    @property
    def vllm_url(self) -> str:
        """vLLM's API, with /v1."""
        return self.settings.engine_url

    @property
    def started_here(self) -> bool:
        """Whether it stops when the block that asked for it ends."""
        return self.process is not None

    def wait(self) -> NoReturn:
        """Wait for as long as the stack runs; it must have been started here.

        Raises:
            StackFailed: a part ended.
        """
        assert self.process is not None  # noqa: S101
        raise failure(self.process, self.settings)


@contextmanager
def running_stack(
    console: Console | None = None, only: Collection[str] = (), chosen: Mapping[str, str] | None = None
) -> Iterator[LocalStack]:
    """The stack that runs already, else one that is started now and stopped when the block ends.

    SIGTERM ends the block as Ctrl-C does, by an exception: call it in the main thread.

    Args:
        console: told how it goes; by default standard error.
        only: names of parts, where not all are needed.
        chosen: settings of the parts as their environment has them; nothing is changed in a stack that runs already.

    Raises:
        StackFailed: a port is taken, or a part does not become ready.
        infra.models.packages.MissingBinary: something is not installed.
    """
    settings, console = LocalSettings(), console or Console(stderr=True)
    some = [part for part in parts(settings) if not only or part.name in only]
    if all(part.answers() for part in some):
        console.print("the stack runs already")
        yield LocalStack(settings, some, None)
        return
    check_ports([part for part in some if part.is_here])
    environment = {
        "SLOP_FEATURIZER_URL": f"http://{settings.host}:{settings.featurizer_port}",
        "SLOP_JOBS_GENERATION_URL": f"http://{settings.host}:{settings.generation_port}",
        "SLOP_RUN_DIR": str(settings.run_dir),
    }
    names = {part.name for part in some}
    for needed_by, packaged, module in (
        ({"vllm", "worker"}, BASE_MODEL, "infra.models.model"),
        ({"featurizer", "worker"}, EMBEDDER, "infra.models.embedder"),
    ):
        if needed_by & names:
            environment[f"SLOP_{packaged.setting.upper()}"] = _prepare(packaged, module, settings, console)
    if "kafka" in names:
        console.print(f"kafka: {kafka.about(settings)}", soft_wrap=True, highlight=False)
    with _sigterm_exits(), started(some, settings, console, environment | dict(chosen or {})) as process:
        yield LocalStack(settings, some, process)


def show_urls(stack: LocalStack, console: Console) -> None:
    """Print where everything listens."""
    table = Table("part", "where", "what for", title="SLOP runs", title_justify="left")
    for part in stack.parts:
        table.add_row(part.name, part.url, part.about)
    console.print(table)
    console.print(f"logs: {log_folder(stack.settings)}", soft_wrap=True)


@contextmanager
def _sigterm_exits() -> Iterator[None]:
    def leave(*_: object) -> NoReturn:
        sys.exit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _prepare(packaged: PackagedModel, module: str, settings: LocalSettings, console: Console) -> str:
    """The folder or hub name of a model, which `python -m module` converts if that was not done before."""
    if packaged.is_prepared(settings):
        return packaged.prepare(settings)
    begin, name = time.monotonic(), f"{packaged.setting} {packaged.title}"
    # By a process of its own: this one would keep torch in memory for as long as the stack runs.
    command = [sys.executable, "-m", module]
    with console.status(f"converting the {name}, once, about 20 s"):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StackFailed(f"the {name} can't be converted:\n{done.stderr[-2000:]}")
    folder = done.stdout.strip()
    console.print(f"{name} converted into {folder}, {time.monotonic() - begin:.0f} s", soft_wrap=True)
    return folder


def main() -> None:
    """Start everything, wait or run a command, stop everything."""
    parser = argparse.ArgumentParser(
        "python -m infra.local.up", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="names of the Procfile; all by default")
    parser.add_argument("--run", metavar="COMMAND", help="run this beside it, and stop everything when it ends")
    args = parser.parse_args()
    if unknown := set(args.parts) - {part.name for part in parts(LocalSettings())}:
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    console = Console(stderr=True)
    try:
        sys.exit(_up(args.parts, args.run, console))
    except KeyboardInterrupt:
        console.print("stopped")
    except (StackFailed, MissingBinary) as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        sys.exit(1)


def _up(only: Sequence[str], command: str | None, console: Console) -> int:
    begin = time.monotonic()
    with running_stack(console=console, only=only) as stack:
        if command is not None:
            return subprocess.run(shlex.split(command), check=False, cwd=ROOT).returncode
        show_urls(stack, console)
        if stack.started_here:
            console.print(f"ready after {time.monotonic() - begin:.0f} s; Ctrl-C stops everything")
            stack.wait()
    return 0


if __name__ == "__main__":
    main()
