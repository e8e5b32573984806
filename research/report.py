"""The demo's output: the table, posts before and after, the plot, the JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from client.rest import ProfileInWords
from research.closed_loop import LoopOutcome, Person
from research.figures import Figures, Row
from research.metrics import Latency

WORDS_SHOWN = 4
TASTES_SHOWN = 3
EXAMPLES = 3


def taste_table(rows: Sequence[Row]) -> Table:
    """The shares of generated posts on the readers' tastes."""
    table = _table("Share of generated posts on the reader's hidden tastes", "interactions")
    for title in ("SLOP", "control", "history", "by keywords"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        arms = row.main.soft, row.main.control, row.main.history
        keywords = (row.keywords.soft, row.keywords.control, row.keywords.history)
        slop, control, history = (f"{arm.mean:.2f} [dim]{arm.low:.2f}-{arm.high:.2f}[/]" for arm in arms)
        by_keywords = " ".join(f"{share.mean:.2f}" for share in keywords)
        table.add_row(str(row.interactions), f"[bold green]{slop}[/]", control, history, by_keywords)
    return table


def text_table(rows: Sequence[Row]) -> Table:
    """Perplexity, variety and copies of the texts."""
    table = _table("The texts: likely, varied, new", "interactions")
    for title in ("perplexity", "x control", "history's", "distinct-2, x control", "near-copies", "history's"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        perplexities = f"{row.perplexity:.1f}", f"{row.perplexity_ratio:.2f}", f"{row.history_perplexity:.1f}"
        copies = f"{row.near_copies:.3f}", f"{row.history_near_copies:.3f}"
        table.add_row(str(row.interactions), *perplexities, f"{row.distinct2_ratio:.2f}", *copies)
    return table


def _table(title: str, first: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, justify="right", no_wrap=True)
    return table


def show_people(console: Console, people: Sequence[Person], outcome: LoopOutcome, shown: int = 2) -> None:
    """Posts before and after for the first readers, with their profiles in words."""
    first, last = min(outcome.soft), max(outcome.soft)
    for index, person in enumerate(people[:shown]):
        before, after = (_quoted(outcome.soft[count][index][:EXAMPLES]) for count in (first, last))
        text = (
            f"[bold]before[/], {first} interactions\n{before}\n\n[bold]after[/], {last} interactions\n{after}\n\n"
            f"[bold]profile in words[/]  {in_words(outcome.profiles[index])}"
        )
        title = f"{person.user_id}, hidden tastes: {' and '.join(person.reader.tastes)}"
        console.print(Panel(text, title=title, title_align="left"))


def _quoted(texts: Sequence[str]) -> str:
    return "\n".join(f"  - {_escaped(' / '.join(text.splitlines()))}" for text in texts)


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")


def in_words(profile: ProfileInWords) -> str:
    """The strongest tastes of a profile with their shares."""
    tastes = [f"{share:.0%} {', '.join(words[:WORDS_SHOWN])}" for share, words in profile.tastes[:TASTES_SHOWN]]
    return "; ".join(tastes) or "nothing learned yet"


def as_json(figures: Figures, freshness: Latency, about: dict[str, Any]) -> dict[str, Any]:
    """The figures for machines; `about` adds the seed, the model and the settings."""
    return {
        "rows": [_row_json(row) for row in figures.rows],
        "freshness_ms": {"p50": freshness.p50, "p95": freshness.p95},
        "perplexity": {
            "control": round(figures.control_perplexity, 3),
            "held_out": round(figures.held_out_perplexity, 3),
        },
        "distinct2_control": round(figures.control_distinct2, 4),
        **about,
    }


def _row_json(row: Row) -> dict[str, Any]:
    return {
        "interactions": row.interactions,
        "share_on_taste": round(row.main.soft.mean, 4),
        "share_control": round(row.main.control.mean, 4),
        "share_history": round(row.main.history.mean, 4),
        "interval": row.main.soft.interval,
        "interval_control": row.main.control.interval,
        "interval_history": row.main.history.interval,
        "keywords_on_taste": round(row.keywords.soft.mean, 4),
        "keywords_control": round(row.keywords.control.mean, 4),
        "keywords_history": round(row.keywords.history.mean, 4),
        "ppl": round(row.perplexity, 3),
        "ppl_ratio": round(row.perplexity_ratio, 4),
        "ppl_history": round(row.history_perplexity, 3),
        "distinct2_ratio": round(row.distinct2_ratio, 4),
        "near_copies": round(row.near_copies, 4),
        "near_copies_history": round(row.history_near_copies, 4),
    }


def save_plot(path: Path, rows: Sequence[Row], note: str) -> None:
    """A PNG of the share on taste by number of interactions, with the 95% intervals."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.8), layout="constrained")
    counts = [row.interactions for row in rows]
    arms = (
        ("SLOP: a soft prompt from the profile", "#1b7837", "o", [row.main.soft for row in rows]),
        ("history: six liked posts in the prompt", "#762a83", "s", [row.main.history for row in rows]),
        ("control: no profile", "#737373", "^", [row.main.control for row in rows]),
    )
    for name, colour, marker, estimates in arms:
        axes.plot(counts, [e.mean for e in estimates], color=colour, marker=marker, lw=2, label=name)
        axes.fill_between(
            counts, [e.low for e in estimates], [e.high for e in estimates], color=colour, alpha=0.15, lw=0
        )
    axes.set(xlabel="interactions learned", ylabel="share of posts on the reader's tastes", ylim=(0, 1))
    axes.set_xscale("symlog", base=2, linthresh=4)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.set_xlim(-0.5, max(counts) * 1.05)
    axes.minorticks_off()
    axes.set_title("Posts turn to each reader's taste", loc="left", fontweight="bold")
    axes.text(0, -0.17, note, transform=axes.transAxes, fontsize=8, color="#555555", va="top")
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
