"""Tables of results as files: CSV and JSON for programs, Markdown for people."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from client.errors import UserError
from research.metrics import Estimate

Row = Mapping[str, str | float | int]


def interval(name: str, estimate: Estimate | None) -> dict[str, float | str]:
    """The columns of an estimate: `name`, and `name`_low and `name`_high of its interval; empty without one."""
    ends = {"": "mean", "_low": "low", "_high": "high"}
    return {name + end: "" if estimate is None else round(getattr(estimate, of), 4) for end, of in ends.items()}


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier run's results, of which a run that leaves methods out keeps the rows.

    Attributes:
        path: its JSON file.
        key: columns that tell rows apart.
        keep: which rows still hold; those that the new run has are replaced anyway.
    """

    path: Path
    key: Sequence[str]
    keep: Callable[[Row], bool]

    @property
    def about(self) -> dict[str, Any]:
        """All of the file.

        Raises:
            UserError: there is none, or it has no rows.
        """
        try:
            about: dict[str, Any] = json.loads(self.path.read_text())
            return about | {"rows": list(about["rows"])}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"no results to keep in {self.path}: {error!r}") from error


def joined(rows: Sequence[Row], about: Mapping[str, Any], told: Sequence[str], earlier: Earlier | None) -> list[Row]:
    """Rows of this run and, of an earlier one, those that this run left out.

    Args:
        rows: of this run.
        about: what its JSON file says beside the rows.
        told: what of that each row says of its own run, as further columns.
        earlier: the earlier run; None keeps nothing.

    Returns:
        The rows in the order of the earlier run, and behind them what it had not.

    Raises:
        UserError: there are no results of an earlier run.
    """
    marked: list[Row] = [{**row, **{name: about[name] for name in told}} for row in rows]
    if earlier is None:
        return marked
    before = earlier.about
    places = {_key(row, earlier): place for place, row in enumerate(before["rows"])}
    ours, columns = {_key(row, earlier) for row in marked}, list(marked[0])
    kept: list[Row] = [
        {name: row.get(name, before.get(name, "") if name in told else "") for name in columns}
        for row in before["rows"]
        if _key(row, earlier) not in ours and earlier.keep(row)
    ]
    return sorted([*marked, *kept], key=lambda row: places.get(_key(row, earlier), len(places)))


def _key(row: Row, earlier: Earlier) -> tuple[str | float | int, ...]:
    return tuple(row[name] for name in earlier.key)


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
