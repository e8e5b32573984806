"""The table of the variants, on the screen and in files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from research import tables
from research.variants.builds import FEW
from research.variants.figures import COUNTS, KINDS, WEAK, Figures
from slop.basis import Basis

LAST: Final = max(COUNTS)
SHOWN: Final = {
    "prompts": "K",
    "rows": "rows",
    "loss": "unseen posts, nats",
    f"ranking_{LAST}": "ranking",
    **{f"share_{kind.replace(' ', '_')}_{LAST}": str(kind) for kind in KINDS},
    "both": "both of two",
    "worst": "the worst",
    "few": "few",
    "near_copies": "copies",
    "perplexity": "perplexity",
    "distinct2_x_control": "distinct-2",
}
"""Columns on the screen, by the files' names."""


def flat(name: str, basis: Basis, figures: Figures, fluency: Mapping[str, float]) -> tables.Row:
    """A row for files."""
    shares: dict[str, float | str] = {}
    for (kind, n), estimate in figures.shares.items():
        shares |= tables.interval(f"share_{kind.replace(' ', '_')}_{n}", estimate)
    ranking: dict[str, float | str] = {}
    for n, estimate in figures.ranking.items():
        ranking |= tables.interval(f"ranking_{n}", estimate)
    norms = np.linalg.norm(basis.prompts, axis=2)
    return {
        "variant": name,
        "basis": basis.version,
        "prompts": basis.size,
        "rows": int(basis.prompts.shape[1]),
        **tables.interval("loss", figures.loss),
        **ranking,
        **shares,
        **tables.interval("both", figures.both),
        "worst": round(figures.worst[0], 4),
        "worst_taste": figures.worst[1],
        "weak_tastes": " ".join(figures.weak),
        "few": round(figures.few, 4),
        "near_copies": round(figures.near_copies, 4),
        "perplexity": round(fluency["perplexity"], 2),
        "perplexity_x_control": round(fluency["perplexity"] / fluency["control"], 3),
        "distinct2_x_control": round(fluency["distinct2"], 3),
        "largest_norm": round(float(norms.max()), 3),
    }


def table_of(rows: Sequence[tables.Row]) -> Table:
    """The columns that matter most."""
    table = Table(title="Ways to build a basis", title_justify="left")
    table.add_column("variant")
    for heading in SHOWN.values():
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(str(row["variant"]), *(_cell(row[name]) for name in SHOWN))
    return table


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def legend(about: Mapping[str, Any]) -> str:
    """What the columns mean."""
    return (
        f"{about['model']}; readers: {about['readers']} of each kind and seed, seeds "
        f"{', '.join(map(str, about['seeds']))}, {about['noise']:.0%} of reactions wrong; shares after {LAST} "
        f"reactions of posts on a taste, by a classifier. Unseen posts: nats a token under the basis as a whole. "
        f"Ranking: pairs of unseen posts in the right order. Both: of two tastes, among 8 posts. The worst: the lowest "
        f"share of a single taste; weak: below {WEAK}. Few: the share of "
        f"{', '.join(FEW)}, of which the variants named so have {min(FEW.values())} posts, not 54. Copies: half of a "
        f"post in one run in a catalogue post. "
        f"Intervals in the files: 95%, over readers (loss: over posts). All but the first row differ from what ships "
        f"in what their name says."
    )


def save_plot(path: Path, rows: Sequence[tables.Row]) -> None:
    """A PNG: shares on taste of every variant."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 0.42 * len(rows) + 1.4), layout="constrained")
    for number, kind in enumerate(KINDS):
        name = f"share_{kind.replace(' ', '_')}_{LAST}"
        means, lows, highs = ([float(row[f"{name}{end}"]) for row in rows] for end in ("", "_low", "_high"))
        ends = [
            [m - low for m, low in zip(means, lows, strict=True)],
            [h - m for m, h in zip(means, highs, strict=True)],
        ]
        at = [place + (number - 1) * 0.22 for place in range(len(rows))]
        axes.errorbar(means, at, xerr=ends, fmt="o", label=str(kind))
    axes.set_yticks(range(len(rows)), [str(row["variant"]) for row in rows])
    axes.invert_yaxis()
    axes.set_title(f"Posts on a taste after {LAST} reactions", loc="left", fontsize=10)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def show(console: Console, rows: Sequence[tables.Row], about: Mapping[str, Any], folder: Path) -> None:
    """Print the table, and write variants.csv, .md, .json and .png."""
    console.print(table_of(rows))
    console.print(legend(about), style="dim", highlight=False)
    shown = [{"variant": row["variant"]} | {title: _cell(row[name]) for name, title in SHOWN.items()} for row in rows]
    page = f"# Ways to build a basis\n\n{tables.markdown(shown)}\n\n{legend(about)}"
    tables.save(folder, "variants", rows, about, page)
    save_plot(folder / "variants.png", rows)
    console.print(f"Results: {folder}/variants.csv, .md, .json and .png", highlight=False)
