"""The figures of the likelihood study: the tables on the screen, CSV, Markdown, JSON and a plot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from client.texts import TextScore
from research import tables
from research.likelihood.arms import MEANINGS, PLAIN, Measured
from research.metrics import Estimate, over_readers, perplexity
from training.language_model import MAX_POST_TOKENS

COLUMNS: Final = ("the post after", "nats a token", "95%", "to plain", "95%", "perplexity")


@dataclass(frozen=True, slots=True)
class Row:
    """An arm over some posts.

    Attributes:
        nats: a token of the second halves; every post counts the same.
        change: the same less plain's, post by post; below 0 is likelier than plain.
        perplexity: over all tokens of the second halves together.
    """

    texts: str
    arm: str
    nats: Estimate
    change: Estimate
    perplexity: float
    posts: int


def rows_of(texts: str, measured: Measured) -> list[Row]:
    """A row for every arm; intervals are over posts."""
    plain = np.array(measured.arms[PLAIN])
    rows = []
    for arm, values in measured.arms.items():
        scores = [TextScore(-nats * count, count) for nats, count in zip(values, measured.tokens, strict=True)]
        change = over_readers((np.array(values) - plain).tolist())
        rows.append(Row(texts, arm, over_readers(values), change, perplexity(scores), len(values)))
    return rows


def table_of(rows: Sequence[Row]) -> Table:
    """The rows of the same posts."""
    title = f"How likely the second half of a post is: {rows[0].posts} posts, {rows[0].texts}"
    table = Table(title=title, title_justify="left")
    for at, column in enumerate(COLUMNS):
        table.add_column(column, justify="right" if at else "left")
    for row in rows:
        figures = [cell for estimate in (row.nats, row.change) for cell in _cells(estimate)]
        table.add_row(row.arm, *figures, f"{row.perplexity:.1f}")
    return table


def _cells(estimate: Estimate) -> tuple[str, str]:
    return f"{estimate.mean:.3f}", f"{estimate.low:.3f} to {estimate.high:.3f}"


def flat(row: Row) -> tables.Row:
    """A row for files."""
    return {
        "texts": row.texts,
        "arm": row.arm,
        **tables.interval("nats", row.nats),
        **tables.interval("to_plain", row.change),
        "perplexity": round(row.perplexity, 3),
        "posts": row.posts,
    }


def legend(rows: Sequence[Row], about: Mapping[str, Any]) -> str:
    """What a person needs to know to read the tables, as Markdown."""
    arms = "\n".join(f"- {arm}: {MEANINGS[arm]}" for arm in dict.fromkeys(row.arm for row in rows))
    paragraphs = [
        f"{about['model']}, {about['tokens']} tokens of a post at most, seed {about['seed']}. A prompt that is chosen "
        "is the one that makes the first half of the post likeliest; figures are of the second half, given the first. "
        "Intervals: 95%, bootstrap over posts; to_plain is paired, below 0 is likelier than plain. Perplexity "
        "is over all tokens together.",
        arms,
        f"The catalogue's posts are those that the basis in use, {about['basis']}, never saw. Other posts are measured "
        f"in {about['folds']} folds, under {about['prompts']} prompts trained on the rest in 2 rounds of "
        f"{about['steps']} steps, on {MAX_POST_TOKENS} tokens of a post at most.",
    ]
    return "\n\n".join(paragraphs)


def save_plot(path: Path, rows: Sequence[Row]) -> None:
    """A PNG of what every arm gains over plain, a panel for each kind of posts."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    panels = {name: [row for row in rows if row.texts == name] for name in dict.fromkeys(row.texts for row in rows)}
    heights = [len(shown) for shown in panels.values()]
    figure, axes = plt.subplots(
        len(panels), figsize=(8, 1.2 + 0.45 * sum(heights)), layout="constrained", squeeze=False, sharex=True,
        height_ratios=heights,
    )  # fmt: skip
    for panel, (name, shown) in zip(axes[:, 0], panels.items(), strict=True):
        _draw(panel, name, shown)
    axes[-1, 0].set_xlabel("nats a token of the second half, less plain's (left is likelier)")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _draw(panel: Any, name: str, rows: Sequence[Row]) -> None:
    arms = [row for row in rows if row.arm != PLAIN]
    means = [row.change.mean for row in arms]
    ends = [[row.change.mean - row.change.low for row in arms], [row.change.high - row.change.mean for row in arms]]
    colours = ["#1b7837" if row.arm.startswith(("trained", "basis")) else "#762a83" for row in arms]
    panel.barh(range(len(arms)), means, 0.6, xerr=ends, color=colours, ecolor="#333333")
    panel.set_yticks(range(len(arms)), [row.arm for row in arms])
    panel.invert_yaxis()
    panel.axvline(0, color="#333333", lw=1)
    plain = next(row for row in rows if row.arm == PLAIN)
    panel.set_title(f"{name}: {plain.posts} posts, plain {plain.nats.mean:.2f} nats a token", loc="left", fontsize=10)
    panel.grid(axis="x", alpha=0.3)
    panel.spines[["top", "right"]].set_visible(False)


def show(console: Console, rows: Sequence[Row], about: Mapping[str, Any], folder: Path) -> None:
    """Print the tables and write likelihood.csv, .md, .json and .png."""
    for name in dict.fromkeys(row.texts for row in rows):
        console.print(table_of([row for row in rows if row.texts == name]))
    listed = [flat(row) for row in rows]
    tables.save(folder, "likelihood", listed, about, f"{tables.markdown(listed)}\n{legend(rows, about)}")
    save_plot(folder / "likelihood.png", rows)
    console.print(f"Results: {folder}/likelihood.csv, .md, .json and .png", highlight=False)
