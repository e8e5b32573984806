"""What the cost study shows: the table on the screen, CSV, Markdown, a plot, JSON."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from research import tables
from research.cost.arms import SOFT
from research.cost.figures import Middle, Row

TITLE: Final = "What a personal post costs before its first token"
HEADINGS: Final = (
    "the reader as",
    "tokens",
    "x soft",
    "cold, ms",
    "x soft",
    "warm, ms",
    "x soft",
    "kept",
    "bytes",
)
COLOURS: Final = {"soft": "#1b7837", "plain": "#737373", "text": "#762a83"}


def cells(row: Row, ratio: Callable[[Middle], str]) -> list[str]:
    """A row of the table, for people."""
    return [
        name_of(row),
        f"{row.tokens:,.0f}",
        f"{row.token_ratio:.1f}",
        _interval(row.cold_ms, 0),
        ratio(row.cold_ratio),
        _interval(row.warm_ms, 0),
        ratio(row.warm_ratio),
        f"{row.warm_cached:.0%}",
        f"{row.stored_bytes:,.0f}",
    ]


def name_of(row: Row) -> str:
    """The arm, with a star where the model was not trained on prompts of that length."""
    return row.arm if row.fits else f"{row.arm} *"


def _interval(middle: Middle, digits: int) -> str:
    value, low, high = (f"{number:,.{digits}f}" for number in (middle.middle, middle.low, middle.high))
    return f"{value} ({low}-{high})"


def _ratio(middle: Middle) -> str:
    return f"{middle.middle:.1f}"


def _ratio_with_interval(middle: Middle) -> str:
    return _interval(middle, 1)


def legend(rows: Sequence[Row], about: Mapping[str, Any]) -> str:
    """What a person needs to know to read the table."""
    lines = [
        f"{about['model']} in vLLM {about['vllm']} on {about['device']} (load {about['load_before']} before the run): "
        f"tokens of the prompt, and the time to first token. {about['repeats']} repeats, arms in turn in one run, seed "
        f"{about['seed']}: medians with 95% bootstrap intervals over repeats.",
        "Turns: liked posts as what the assistant wrote before. Text: listed in the system message. They are the "
        "catalogue's, drawn anew for every repeat. "
        f"The soft prompt has {about['virtual_tokens']} virtual tokens, whatever the reader has done.",
        "Cold: posts and a cache salt that the engine never saw. Warm: the same request again; kept is the share of "
        "its tokens that the engine found in its prefix cache.",
        "Bytes: what is stored of a reader, the profile or the texts of the posts.",
    ]
    if not all(row.fits for row in rows):
        lines.append(
            f"* longer than the model's {about['model_window']:,} tokens: the engine was told to go on beyond them, so "
            "that the time could be taken. What it would write there is worth nothing."
        )
    return "\n".join(lines)


def table_of(rows: Sequence[Row]) -> Table:
    """The table on the screen."""
    table = Table(title=TITLE, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for at, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="right" if at else "left", no_wrap=True)
    for row in rows:
        table.add_row(*cells(row, _ratio))
    return table


def markdown_of(rows: Sequence[Row], about: Mapping[str, Any]) -> str:
    """The table and its legend as Markdown."""
    lines = [HEADINGS, ["---", *(["---:"] * (len(HEADINGS) - 1))], *(cells(row, _ratio_with_interval) for row in rows)]
    table = "\n".join(f"| {' | '.join(line)} |".replace(" * |", r" \* |") for line in lines)
    notes = legend(rows, about).replace("* longer", r"\* longer").replace("\n", "\n\n")
    return f"# {TITLE}\n\n{table}\n\n{notes}\n"


def as_json(row: Row) -> dict[str, Any]:
    """A row for machines."""
    return {
        "arm": row.arm,
        "posts": row.posts,
        "prompt_tokens": row.tokens,
        "prompt_tokens_ratio": round(row.token_ratio, 3),
        **_named("cold_ms", row.cold_ms),
        **_named("cold_ratio", row.cold_ratio),
        **_named("warm_ms", row.warm_ms),
        **_named("warm_ratio", row.warm_ratio),
        "cold_cached_share": round(row.cold_cached, 4),
        "warm_cached_share": round(row.warm_cached, 4),
        "stored_bytes": row.stored_bytes,
        "fits_model_window": row.fits,
    }


def _named(name: str, middle: Middle) -> dict[str, float]:
    values = {"": middle.middle, "_low": middle.low, "_high": middle.high}
    return {name + end: round(value, 3) for end, value in values.items()}


def _kind(row: Row) -> str:
    return "text" if row.posts else "soft" if row.arm == SOFT else "plain"


def save_plot(path: Path, rows: Sequence[Row], note: str) -> None:
    """A PNG of the time to first token of every arm, cold and warm, on a logarithmic scale, with the intervals."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5.4), layout="constrained")
    colours = [COLOURS[_kind(row)] for row in rows]
    for which, offset, alpha in (("cold", -0.2, 1.0), ("warm", 0.2, 0.45)):
        middles: list[Middle] = [getattr(row, f"{which}_ms") for row in rows]
        ends = [[e.middle - e.low for e in middles], [e.high - e.middle for e in middles]]
        places, lengths = [at + offset for at in range(len(rows))], [e.middle for e in middles]
        bars = axes.barh(places, lengths, 0.38, xerr=ends, color=colours, alpha=alpha, ecolor="#333333")
        axes.bar_label(bars, [f" {which} {e.middle:,.0f} ms" for e in middles], fontsize=8)
    axes.set_xscale("log")
    axes.set_yticks(range(len(rows)), [f"{name_of(row)}\n{row.tokens:,.0f} tokens" for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("time to first token, ms (logarithmic)")
    axes.margins(x=0.25)
    axes.set_title(TITLE, loc="left", fontweight="bold")
    axes.text(0, -0.14, note, transform=axes.transAxes, fontsize=8, color="#555555", va="top")
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def show(console: Console, rows: Sequence[Row], about: Mapping[str, Any], out: Path) -> None:
    """Print the table, and write it as JSON to `out` and as CSV, Markdown and PNG beside it."""
    console.print(table_of(rows))
    console.print(legend(rows, about), style="dim", highlight=False)
    tables.save(out.parent, out.stem, [as_json(row) for row in rows], about, markdown_of(rows, about))
    note = f"{about['model']}, {about['device']}, {about['repeats']} repeats; bars: medians, lines: 95% intervals"
    save_plot(out.with_suffix(".png"), rows, note)
    console.print(f"Figures: {out}, and .csv, .md, .png beside it", highlight=False)
