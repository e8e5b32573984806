"""What a study prints on."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

NARROWEST = 120


def console_for_tables() -> Console:
    """Standard output, wide enough for the tables even where it is a file or a log."""
    console = Console()
    return console if console.is_terminal else Console(width=max(console.width, NARROWEST))


def progress_on(console: Console) -> Progress:
    """A progress display with one bar a stage."""
    columns = (TextColumn("{task.description:<36}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)
