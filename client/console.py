"""The console that programs print their tables on."""

from typing import Final

from rich.console import Console

NARROWEST: Final = 120
INTERRUPTED: Final = 130
"""The exit status of a program that was interrupted."""


def console_for_tables() -> Console:
    """Standard output, wide enough for the tables even where it is a file or a log."""
    console = Console()
    return console if console.is_terminal else Console(width=max(console.width, NARROWEST))
