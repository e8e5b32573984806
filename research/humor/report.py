"""What the study shows: tables on the screen, CSV, Markdown, JSON and a plot."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from research import tables
from research.humor.figures import Cost, Results, Row
from research.humor.methods import DEAR
from research.humor.tasks import COUNTS
from research.metrics import CalibrationBin
from research.rankers import (
    SLOP,
)

AHEAD_COUNTS: Final = (5, 10, 20, 40)


def table_of(rows: Sequence[Row], name: str, costs: Mapping[str, Cost]) -> Table:
    """The figures of known or of unseen jokes."""
    costly = ("bytes a reader", "µs a rating", "x SLOP's", "tokens to rank", "to write")
    table = _table(f"Pair accuracy, {name} jokes", ("readers", *map("n = {}".format, COUNTS), *costly))
    for method, cost in costs.items():
        of_method = [row for row in rows if (row.jokes, row.method) == (name, method)]
        cells = {row.n: f"{row.accuracy.mean:.3f}" for row in of_method}
        figures = [cells.get(count, "") for count in COUNTS]
        times = cost.microseconds / costs[SLOP].microseconds
        spent = (f"{cost.stored_bytes:,}", f"{cost.microseconds:,.0f}", f"{times:,.1f}", *map(str, cost.tokens))
        table.add_row(method, str(max((row.readers for row in of_method), default=0)), *figures, *spent)
    return table


def ahead_table(rows: Sequence[Row], name: str) -> Table:
    """How far SLOP is ahead of the others, by reader."""
    table = _table(
        f"SLOP's pair accuracy less the method's, same readers and {name} jokes", map("n = {}".format, AHEAD_COUNTS)
    )
    others = dict.fromkeys(row.method for row in rows if row.method != SLOP)
    for method in others:
        found = {row.n: row.ahead for row in rows if (row.jokes, row.method) == (name, method)}
        figures = [
            f"{a.mean:+.3f} [dim]{a.low:+.3f} to {a.high:+.3f}[/]" if (a := found.get(n)) else "" for n in AHEAD_COUNTS
        ]
        table.add_row(method, *figures)
    return table


def _table(title: str, columns: Iterable[str]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("method")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def flat_rows(results: Results) -> list[tables.Row]:
    """The rows as the files have them."""
    slop = results.costs[SLOP].microseconds
    return [_flat(row, results.costs[row.method], slop) for row in results.rows]


def _flat(row: Row, cost: Cost, slop_microseconds: float) -> tables.Row:
    return {
        "jokes": row.jokes,
        "method": row.method,
        "n": row.n,
        "accuracy": round(row.accuracy.mean, 4),
        "low": round(row.accuracy.low, 4),
        "high": round(row.accuracy.high, 4),
        "readers": row.readers,
        "slop_same_readers": round(row.slop, 4),
        "slop_ahead": round(row.ahead.mean, 4),
        "ahead_low": round(row.ahead.low, 4),
        "ahead_high": round(row.ahead.high, 4),
        "bytes_a_reader": cost.stored_bytes,
        "microseconds_a_rating": round(cost.microseconds, 1),
        "times_slops": round(cost.microseconds / slop_microseconds, 2),
        "tokens_to_rank": cost.tokens.ranking,
        "tokens_to_write": cost.tokens.writing,
    }


def save(folder: Path, results: Results, about: dict[str, Any], earlier: Path | None) -> None:
    """Write humor.csv, humor.md, humor.json and humor.png, with the dear rows of an earlier run if this one has none.

    Raises:
        UserError: the file of the earlier run is not such a one.
    """
    kept = tables.Earlier(earlier, ("jokes", "method", "n"), _is_dear) if earlier else None
    rows = tables.joined(flat_rows(results), about, ("basis", "device"), kept)
    calibration = [asdict(part) for part in results.calibration]
    tables.save(folder, "humor", rows, {"calibration": calibration, **about}, tables.markdown(rows))
    save_plot(folder / "humor.png", rows)


def _is_dear(row: tables.Row) -> bool:
    return str(row["method"]).startswith(DEAR)


def save_plot(path: Path, rows: Sequence[tables.Row]) -> None:
    """A PNG of the accuracy by number of ratings, known jokes beside unseen ones."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained", sharey=True)
    for axes, name in zip(panels, ("known", "unseen"), strict=True):
        for method in dict.fromkeys(row["method"] for row in rows):
            line = [row for row in rows if (row["jokes"], row["method"]) == (name, method)]
            counts, middles, *ends = ([row[of] for row in line] for of in ("n", "accuracy", "low", "high"))
            axes.plot(counts, middles, marker="o", lw=2, label=method)
            axes.fill_between(counts, *ends, alpha=0.15, lw=0)
        axes.set_xscale("symlog", base=2, linthresh=1)
        axes.set_xticks(COUNTS, [str(count) for count in COUNTS])
        axes.minorticks_off()
        axes.set(title=f"{name} jokes", xlabel="ratings learned", ylabel="pair accuracy within a reader")
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def calibration_table(bins: Sequence[CalibrationBin]) -> Table:
    """Predicted beside observed."""
    table = Table(title="SLOP's prediction of each rating before it is learned, in tenths", title_justify="left")
    for column in ("predicted", "observed", "ratings"):
        table.add_column(column, justify="right")
    for part in bins:
        table.add_row(f"{part.predicted:.3f}", f"{part.observed:.3f}", str(part.count))
    return table
