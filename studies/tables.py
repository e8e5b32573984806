"""Tables of results as files: CSV for programs, Markdown for people."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

Row = Mapping[str, str | float | int]


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
