"""Tables of results as files: CSV and JSON for programs, Markdown for people."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from studies.metrics import Estimate

Row = Mapping[str, str | float | int]


def interval(name: str, estimate: Estimate | None) -> dict[str, float | str]:
    """The columns of an estimate: `name`, and `name`_low and `name`_high of its interval; empty without one."""
    ends = {"": "mean", "_low": "low", "_high": "high"}
    return {name + end: "" if estimate is None else round(getattr(estimate, of), 4) for end, of in ends.items()}


def save(folder: Path, name: str, rows: Sequence[Row], about: Mapping[str, Any], page: str) -> None:
    """Write `name`.csv, `name`.json and `name`.md.

    Args:
        folder: made if it is missing.
        name: of the files.
        rows: of the table.
        about: what the JSON file says beside the rows.
        page: the Markdown file.
    """
    save_csv(folder / f"{name}.csv", rows)
    save_json(folder / f"{name}.json", {**about, "rows": rows})
    (folder / f"{name}.md").write_text(f"{page.rstrip()}\n")


def publish(
    console: Console,
    folder: Path,
    name: str,
    rows: Sequence[Row],
    about: Mapping[str, Any],
    *,
    title: str,
    note: str,
    plot: Callable[[Path], None],
) -> None:
    """Print the note to a table that was shown, and write `save`'s files, the note under the table, and a plot.

    Args:
        console: where to.
        folder: see `save`, as the next three.
        name: of the files.
        rows: of the table.
        about: what the JSON file says beside the rows.
        title: of the Markdown page.
        note: what a person needs to know to read the table.
        plot: draws into the file `name`.png.
    """
    console.print(note, style="dim", highlight=False)
    save(folder, name, rows, about, f"# {title}\n\n{markdown(rows)}\n{note}")
    plot(folder / f"{name}.png")
    console.print(f"Results: {folder}/{name}.csv, .md, .json and .png", highlight=False)


def save_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, its folder included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")


def save_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write rows under the first row's columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def markdown(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table."""
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns), *([str(row[column]) for column in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
