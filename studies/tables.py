"""Tables of results as files: CSV for programs, Markdown for people."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from studies.metrics import Estimate

Row = Mapping[str, str | float | int]


def interval(name: str, estimate: Estimate | None) -> dict[str, float | str]:
    """The columns of an estimate: `name`, and `name`_low and `name`_high of its interval; empty without one."""
    ends = {"": "mean", "_low": "low", "_high": "high"}
    return {name + end: "" if estimate is None else round(getattr(estimate, of), 4) for end, of in ends.items()}


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
