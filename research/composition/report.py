"""What the composition study shows: the table on the screen, CSV, Markdown, a plot, JSON."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from research import tables
from research.composition.figures import Row
from research.metrics import Estimate

TITLE: Final = "A style and a topic in one post"
SHARES: Final = ("topic", "style", "both")
COLOURS: Final = ("#92c5de", "#c2a5cf", "#1b7837")


def table_of(rows: Sequence[Row]) -> Table:
    """The table on the screen."""
    table = Table(title=TITLE, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    headings = ("asked by", "rows", "topic", "style", "both", "by classifiers", "perplexity", "distinct-2")
    for at, heading in enumerate(headings):
        table.add_column(heading, justify="right" if at else "left", no_wrap=True)
    for row in rows:
        by_classifiers = " ".join(f"{share.mean:.2f}" for share in row.classifiers)
        topic, style, both = (f"{e.mean:.2f} [dim]{e.low:.2f}-{e.high:.2f}[/]" for e in row.keywords)
        more = f"{row.perplexity.mean:.1f}", f"{row.distinct2.mean:.2f}"
        table.add_row(row.arm, str(row.rows), topic, style, f"[bold]{both}[/]", by_classifiers, *more)
    return table


def _shown(share: Estimate) -> str:
    return f"{share.mean:.2f} ({share.low:.2f}-{share.high:.2f})"


def legend(about: Mapping[str, Any]) -> str:
    """What a person needs to know to read the table."""
    seen, losses = about["classifier_accuracy"], about["held_out_loss"]
    return (
        f"{about['pairs']} pairs of a style and a topic that never meet in the catalogue, {about['posts']} posts a "
        f"pair, seed {about['seed']}: shares of posts by the catalogue's detectors, with 95% intervals over pairs, and "
        f"by classifiers of topics ({seen['topics']:.0%} right on catalogue posts) and of styles "
        f"({seen['styles']:.0%}). {about['liked']} held-out posts of a class choose its prompts.\n"
        "Words and description: the topic's words and what the style's posts were written by, as text. Mixture: the "
        "topic's prompt for half of the posts, the style's for the others. Concatenated: both, style first. Style × "
        "subject: a style and a subject that were trained jointly.\n"
        "Perplexity is under the plain model, each post by itself; distinct-2 is among the posts of a pair. Held-out "
        f"posts cost {_loss(losses['basis'])} nats a token under the even mixture of the basis' prompts and "
        f"{_loss(losses['style_subject'])} under that of all pairs of the style × subject prompts."
    )


def _loss(loss: Mapping[str, float]) -> str:
    return f"{loss['mean']:.3f} ({loss['low']:.3f}-{loss['high']:.3f})"


def flat(row: Row) -> tables.Row:
    """A row for machines."""
    estimates = {
        **dict(zip(SHARES, row.keywords, strict=True)),
        **{f"{name}_by_classifier": share for name, share in zip(SHARES, row.classifiers, strict=True)},
        "style_subject_ahead": row.ahead,
        "perplexity": row.perplexity,
        "distinct2": row.distinct2,
    }
    cells: dict[str, str | float | int] = {"arm": row.arm, "virtual_tokens": row.rows}
    for name, estimate in estimates.items():
        cells |= tables.interval(name, estimate)
    return cells


def markdown_of(rows: Sequence[Row], about: Mapping[str, Any]) -> str:
    """The table, its legend and some posts as Markdown."""
    listed: list[tables.Row] = [
        {
            "asked by": row.arm,
            "virtual tokens": row.rows,
            **{name: _shown(share) for name, share in zip(SHARES, row.keywords, strict=True)},
            **{f"{name}, classifier": _shown(share) for name, share in zip(SHARES, row.classifiers, strict=True)},
            "both: style × subject ahead by": _shown(row.ahead),
            "perplexity": f"{row.perplexity.mean:.1f} ({row.perplexity.low:.1f}-{row.perplexity.high:.1f})",
            "distinct-2": _shown(row.distinct2),
        }
        for row in rows
    ]
    notes = legend(about).replace("\n", "\n\n")
    return f"# {TITLE}\n\n{tables.markdown(listed)}\n{notes}\n\n{_examples(about['examples'])}"


def _examples(examples: Sequence[Mapping[str, str]]) -> str:
    shown: list[tables.Row] = [
        {name: " / ".join(text.splitlines()).replace("|", r"\|") for name, text in example.items()}
        for example in examples
    ]
    return f"The first post of the first pairs:\n\n{tables.markdown(shown)}"


def save_plot(path: Path, rows: Sequence[Row], note: str) -> None:
    """A PNG of the shares with topic, style and both by arm, with the 95% intervals."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 4.8), layout="constrained")
    for at, (name, colour) in enumerate(zip(SHARES, COLOURS, strict=True)):
        estimates = [row.keywords[at] for row in rows]
        ends = [[e.mean - e.low for e in estimates], [e.high - e.mean for e in estimates]]
        places = [place + 0.27 * (at - 1) for place in range(len(rows))]
        bars = axes.bar(
            places, [e.mean for e in estimates], 0.25, yerr=ends, color=colour, ecolor="#555555", label=name
        )
        axes.bar_label(bars, [f"{e.mean:.2f}" for e in estimates], fontsize=8, padding=2)
    axes.set_xticks(range(len(rows)), [f"{row.arm}\n{row.rows} rows" for row in rows])
    axes.set(ylabel="share of posts", ylim=(0, 1.08))
    axes.set_title(TITLE, loc="left", fontweight="bold")
    axes.text(0, -0.17, note, transform=axes.transAxes, fontsize=8, color="#555555", va="top")
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left", ncols=3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def show(console: Console, rows: Sequence[Row], about: Mapping[str, Any], folder: Path) -> None:
    """Print the table and write composition.json, .csv, .md and .png."""
    console.print(table_of(rows))
    console.print(legend(about), style="dim", highlight=False)
    listed = [flat(row) for row in rows]
    tables.save(folder, "composition", listed, about, markdown_of(rows, about))
    note = f"{about['model']}, {about['pairs']} pairs, {about['posts']} posts a pair; lines: 95% intervals over pairs"
    save_plot(folder / "composition.png", rows, note)
    console.print(f"Results: {folder}/composition.csv, .md, .json and .png")
