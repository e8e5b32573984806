"""The tables of the study on the screen, and its files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from research import tables
from research.prompts.figures import Row
from research.prompts.ways import OWN, PRODUCTION

TITLE: Final = "From a profile's weights to a prompt"


def flat(row: Row) -> tables.Row:
    """A row as files have it."""
    return {
        "kind": row.kind,
        "way": row.way,
        **tables.interval("share", row.share),
        **tables.interval("ahead_of_production", row.ahead),
        **tables.interval("every_taste_among_8", row.every),
        **tables.interval("all_tastes_in_one_post", row.at_once),
        **tables.interval("perplexity", row.perplexity),
        **tables.interval("distinct2_x_control", row.distinct2),
        **tables.interval("mean_cosine", row.likeness),
        **tables.interval("near_copies", row.near_copies),
        "share_by_seed": " ".join(f"{share:.3f}" for share in row.by_seed),
        "prompt_tokens": round(row.prompt_tokens, 1),
        "readers": row.readers,
    }


def table_of(rows: Sequence[Row], kind: str) -> Table:
    """All ways for one kind of reader."""
    table = Table(
        title=f"Readers with {kind}", title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )
    headings = ["", "on taste", "95%", "ahead", "every", "at once", "ppl", "distinct-2", "cosine", "copies", "prompt"]
    for at, heading in enumerate([*headings, "n"]):
        table.add_column(heading, justify="right" if at else "left", no_wrap=True)
    for row in rows:
        if row.kind == kind:
            table.add_row(*_cells(row))
    return table


def _cells(row: Row) -> list[str]:
    return [
        row.way,
        f"{row.share.mean:.3f}",
        f"{row.share.low:.2f}-{row.share.high:.2f}",
        "" if row.way == PRODUCTION else f"{row.ahead.mean:+.3f}",
        f"{row.every.mean:.2f}" if row.every else "",
        f"{row.at_once.mean:.3f}",
        f"{row.perplexity.mean:.1f}",
        f"{row.distinct2.mean:.2f}",
        f"{row.likeness.mean:.2f}",
        f"{row.near_copies.mean:.1%}",
        f"{row.prompt_tokens:.0f}",
        str(row.readers),
    ]


def markdown_of(rows: Sequence[tables.Row], notes: Sequence[str]) -> str:
    """A table for every kind of reader, each figure with its interval, and the legend."""
    parts = [f"# {TITLE}"]
    for kind in dict.fromkeys(row["kind"] for row in rows):
        of_kind = [_readable(row) for row in rows if row["kind"] == kind]
        parts += [f"## Readers with {kind}", tables.markdown(of_kind).rstrip()]
    return "\n\n".join([*parts, *notes])


def _readable(row: tables.Row) -> tables.Row:
    return {
        "": row["way"],
        "on taste": _shown(row, "share"),
        "ahead": "" if row["way"] == PRODUCTION else _shown(row, "ahead_of_production", "+.3f"),
        "every taste among 8": _shown(row, "every_taste_among_8"),
        "all tastes in one post": _shown(row, "all_tastes_in_one_post", ".3f"),
        "perplexity": _shown(row, "perplexity", ".1f"),
        "distinct-2": _shown(row, "distinct2_x_control"),
        "mean cosine": _shown(row, "mean_cosine"),
        "near-copies": _shown(row, "near_copies", ".1%"),
        "tokens": round(float(row["prompt_tokens"])),
        "readers": row["readers"],
        "basis": row["basis"],
    }


def _shown(row: tables.Row, name: str, form: str = ".2f") -> str:
    """An estimate with its interval; nothing where there is none."""
    mean, low, high = (row[name + end] for end in ("", "_low", "_high"))
    return "" if mean == "" else f"{mean:{form}} ({low:{form}} to {high:{form}})"


def legend(about: Mapping[str, Any]) -> list[str]:
    """What a person needs to know to read the tables."""
    lines = [
        f"{about['model']}, basis {about['basis']}; {about['readers']} readers of each kind and seed, the first "
        f"{about['own_readers']} of them where each has a soft prompt of its own; seeds "
        f"{', '.join(map(str, about['seeds']))}; 16 interactions, {about['exposure']:.0%} of what readers see is of "
        f"their tastes, {about['noise']:.0%} of reactions are wrong. Temperature {about['temperature']}, min-p "
        f"{about['min_p']}. Intervals are 95% over readers. Rows of another basis, all of them of readers with prompts "
        "of their own, are of an earlier run, and ahead by its production.",
        f"On taste: share of 8 posts, by a classifier ({about['classifier_accuracy']:.0%} right on the catalogue). "
        f"Ahead: by how much more than by production's way ({PRODUCTION}), with the same readers. Every: readers who "
        "find each of their tastes among 8 posts. At once: posts of all tastes of the reader, by keyword and surface "
        "detectors. Perplexity: of each text by itself under the plain model, the geometric mean of readers. "
        "Distinct-2: among a reader's 8 posts, by that of 8 of the plain model's. Cosine: of the embeddings of "
        "two of them, the mean over pairs; lower is more varied. Copies: half of a post in one run in "
        "a catalogue post. Tokens, or prompt: those of the prompt. n: readers.",
        "Mixtures draw a prompt for each post by max(weight, 0) to the power, normalised; Thompson sampling draws the "
        "weights and takes the best prompt. Under these a reader's posts are dealt from "
        f"{about['pool']} posts under each prompt and seed, which readers share; the figures of the seeds, each with "
        "posts of its own, see that, and intervals do not.",
        "Best of c: for each post c candidates are written, so that a post costs c times the tokens, and 8 of a "
        "reader's candidates are chosen by what the encoder and the profile say of them, by maximal marginal relevance "
        "(Carbonell and Goldstein 1998) of the diversity d, which is 0 where none is named. Of all: any 8 of the "
        "candidates, whose prompts are production's mixture. A prompt: each prompt keeps its share of the 8 posts, and "
        "candidates under the same prompt compete. No candidate is there twice.",
    ]
    return [*lines, _of_own_prompts(about["projector_training"])] if about["own_readers"] else lines


def _of_own_prompts(trained: Mapping[str, Any]) -> str:
    return (
        "The average is by the shares of production's mixture, each row brought to the norms of the basis. The "
        "projector (Embedding-to-Prefix, arXiv 2505.17051) adds a learned residual to it, trained on made-up readers "
        f"with one, two and four clusters, {trained['options']['steps']} steps: their held-out posts cost "
        f"{trained['held_out_loss_at_start']:.3f} nats a token under the average, {trained['held_out_loss']:.3f} under "
        "the projector."
    )


def save_plot(path: Path, rows: Sequence[tables.Row], note: str) -> None:
    """A PNG: for every kind of reader and way the share on taste, and readers who find every taste."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    kinds, ways = (list(dict.fromkeys(str(row[name]) for row in rows)) for name in ("kind", "way"))
    figure, panels = plt.subplots(1, len(kinds), figsize=(14, 4.8), layout="constrained", sharey=True, squeeze=False)
    for axes, kind in zip(panels[0], kinds, strict=True):
        of_kind = {ways.index(str(row["way"])): row for row in rows if row["kind"] == kind}
        _draw(axes, of_kind, "share", "on one of the tastes", "#1b7837", 0.12)
        _draw(axes, of_kind, "every_taste_among_8", "every taste among 8 posts", "#762a83", -0.12)
        axes.set(title=kind, xlim=(0, 1))
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_yticks(range(len(ways)), ways)
    panels[0][0].invert_yaxis()
    figure.legend(*panels[0][-1].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle(note, fontsize=9, color="#555555")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _draw(axes: Any, rows: Mapping[int, tables.Row], name: str, label: str, colour: str, shift: float) -> None:
    """One measure of the rows, each at its height; rows without it are left out."""
    there = {at: row for at, row in rows.items() if row[name] != ""}
    drawn = {at: [float(row[name + end]) for end in ("", "_low", "_high")] for at, row in there.items()}
    middles = [mean for mean, _, _ in drawn.values()]
    ends = [[mean - low for mean, low, _ in drawn.values()], [high - mean for mean, _, high in drawn.values()]]
    axes.errorbar(middles, [at - shift for at in drawn], xerr=ends, fmt="o", ms=4, color=colour, label=label)


def _has_own_prompts(row: tables.Row) -> bool:
    return row["way"] in OWN


def show(
    console: Console, rows: Sequence[Row], about: Mapping[str, Any], folder: Path, earlier: Path | None = None
) -> None:
    """Print the tables, and write prompts.csv, .md, .json and .png.

    Args:
        console: where to.
        rows: of this run.
        about: what is told beside them.
        folder: of the files.
        earlier: results of an earlier run, whose readers with soft prompts of their own are kept.

    Raises:
        UserError: the file of the earlier run is not such a one.
    """
    for kind in dict.fromkeys(row.kind for row in rows):
        console.print(table_of(rows, kind))
    kept = tables.Earlier(earlier, ("kind", "way"), _has_own_prompts) if earlier else None
    if kept and not about["own_readers"]:
        about = {**about, **{name: kept.about[name] for name in ("own_readers", "projector_training")}}
    listed, notes = tables.joined([flat(row) for row in rows], about, ["basis"], kept), legend(about)
    console.print("\n".join(notes), style="dim", highlight=False)
    tables.save(folder, "prompts", listed, about, markdown_of(listed, notes))
    seeds = len(about["seeds"])
    save_plot(folder / "prompts.png", listed, f"{about['model']}; bars: 95% over readers of {seeds} seeds")
    console.print(f"Results: {folder}/prompts.csv, .md, .json and .png", highlight=False)
