"""The encoders' figures: a table on the screen, CSV, Markdown, JSON and a plot."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from research import tables
from research.encoders.figures import Row
from research.topics.people import MAIN

MARKS: Final = "osD^vPX*<>hpd8H"


def table_of(rows: Sequence[Row]) -> Table:
    """Encoders down, counts across."""
    table = Table(title="Encoders of posts", title_justify="left")
    counts = list(dict.fromkeys(row.n for row in rows))
    for heading in (
        "encoder",
        "ms a post",
        *(f"ranking, n = {n}" for n in counts),
        *(f"on taste, {n}" for n in counts),
    ):
        table.add_column(heading, justify="left" if heading == "encoder" else "right")
    for name in dict.fromkeys(row.encoder for row in rows):
        mine = [row for row in rows if row.encoder == name]
        shares = ["" if row.share is None else f"{row.share.mean:.3f}" for row in mine]
        table.add_row(name, f"{mine[0].milliseconds:.0f}", *(f"{row.ranking.mean:.3f}" for row in mine), *shares)
    return table


def flat(row: Row) -> tables.Row:
    """A row for files."""
    return {
        "encoder": row.encoder,
        "ms_a_post": round(row.milliseconds, 1),
        "n": row.n,
        **tables.interval("ranking", row.ranking),
        **tables.interval("share", row.share),
        "readers": row.readers,
    }


def legend(about: Mapping[str, Any]) -> str:
    """What a person needs to know to read the table."""
    return (
        f"{about['model']}, basis {about['basis']}; {about['readers']} readers of each kind (one topic, one style, two "
        f"tastes) and seed, seeds {', '.join(map(str, about['seeds']))}; {about['noise']:.0%} of reactions wrong. "
        "Ranking: pairs of posts that neither the basis nor the reader saw, one on a taste and one not, ranked right. "
        "On taste: of the posts written under the prompts that a reader's are drawn from. Milliseconds: CPU time, the "
        "median of 12 posts, in the same run. Intervals: 95%, bootstrap over readers. A distilled head is fitted in 5 "
        "folds of these posts."
    )


def save_plot(path: Path, rows: Sequence[Row]) -> None:
    """A PNG: what the encoders reach after MAIN interactions, by what they cost."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(12, 6), layout="constrained", sharex=True)
    main = [row for row in rows if row.n == MAIN]
    looks = {row.encoder: {"fmt": mark, "color": f"C{at}"} for at, (row, mark) in enumerate(zip(main, cycle(MARKS)))}
    measures = (
        ("pairs of unseen posts ranked right", [(row, row.ranking) for row in main]),
        ("posts on the reader's tastes", [(row, row.share) for row in main if row.share]),
    )
    for axes, (title, points) in zip(panels, measures, strict=True):
        for row, estimate in points:
            ends = [[estimate.mean - estimate.low], [estimate.high - estimate.mean]]
            axes.errorbar([row.milliseconds], [estimate.mean], ends, label=row.encoder, **looks[row.encoder])
        axes.set(xscale="log", xlabel="milliseconds of CPU time a post", title=f"share of {title}, n = {MAIN}")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8, frameon=False
    )
    figure.savefig(path, dpi=150)
    plt.close(figure)


def show(console: Console, rows: Sequence[Row], about: Mapping[str, Any], folder: Path) -> None:
    """Print the table and write encoders.csv, .md, .json and .png."""
    console.print(table_of(rows))
    tables.publish(
        console,
        folder,
        "encoders",
        [flat(row) for row in rows],
        about,
        title="Encoders of posts",
        note=legend(about),
        plot=lambda path: save_plot(path, rows),
    )
