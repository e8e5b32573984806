"""Common to all studies: their options, their console and progress, and their exit."""

import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from client.console import INTERRUPTED, console_for_tables
from client.errors import UserError
from infra.local.starting import StackFailed
from infra.models.packages import MissingBinary

Options = TypeVar("Options", bound=BaseSettings)

SILENT_S: Final = 5.0
LOOK_S: Final = 0.5
LOCAL: Final = "write with transformers in this process rather than with vLLM, for a GPU without it"


def options_of(study: str) -> SettingsConfigDict:
    """The settings' configuration of a study: options of `python -m research.STUDY`, or variables STUDY_OPTION."""
    return SettingsConfigDict(
        env_prefix=f"{study.upper()}_",
        env_ignore_empty=True,
        extra="ignore",
        cli_parse_args=True,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_prog_name=f"python -m research.{study}",
        populate_by_name=True,
    )


class Lines(Progress):
    """Progress for a file or a log, where bars can't be redrawn.

    A line for every stage that is done, and of those under way one whenever SILENT_S seconds have passed without any.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console=console, disable=True)
        self._told_at = time.monotonic()
        self._over = threading.Event()
        self._pulse = threading.Thread(target=self._keep_telling, name="progress", daemon=True)

    def start(self) -> None:
        """As Progress does."""
        super().start()
        self._pulse.start()

    def stop(self) -> None:
        """As Progress does."""
        self._over.set()
        super().stop()

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """As Progress does."""
        before = self._tasks[task_id].finished
        super().advance(task_id, advance)
        self._tell(task_id, before)

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """As Progress does."""
        before = self._tasks[task_id].finished
        super().update(task_id, **changes)
        self._tell(task_id, before)

    def _tell(self, task_id: TaskID, before: bool) -> None:
        task = self._tasks[task_id]
        if task.finished and not before:
            self._say(f"{task.description:<36} {task.total:.0f} in {task.finished_time:.0f} s")

    def _keep_telling(self) -> None:
        while not self._over.wait(LOOK_S):
            if time.monotonic() - self._told_at >= SILENT_S:
                under_way = [task for task in self.tasks if not task.finished]
                counts = (f"{task.description} {task.completed:.0f} of {task.total or 0:.0f}" for task in under_way)
                self._say(f"  {'; '.join(counts) or 'at work'}")

    def _say(self, line: str) -> None:
        self._told_at = time.monotonic()
        self.console.print(line, highlight=False)


def progress_on(console: Console) -> Progress:
    """A progress display with one bar a stage, or one line where there is no terminal."""
    if not console.is_terminal:
        return Lines(console)
    columns = (TextColumn("{task.description:<36}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)


def options_or_advice(options: type[Options], advice: str) -> Options:
    """The options from the command line and the environment.

    Raises:
        UserError: one is missing or not valid; the message ends with the advice.
    """
    try:
        return options()
    except ValidationError as error:
        wrong = "; ".join(f"{'/'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise UserError(f"{wrong}\n{advice}") from error


def run_study(study: Callable[[Console], None]) -> int:
    """Run a study; what it can't go on for is printed. Returns the exit status."""
    console = console_for_tables()
    try:
        study(console)
    except (UserError, StackFailed, MissingBinary) as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("stopped")
        return INTERRUPTED
    return 0
