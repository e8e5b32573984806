"""The tables of the study on the screen, and its files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from research import tables
from research.metrics import Estimate
from research.topics.arms import CONTROL, FRESH, RIVALS, SOFT
from research.topics.figures import Row
from research.topics.people import COUNTS, MAIN, TasteKind
from research.topics.tuned import Effort
from slop.composing import COMPOSED_FROM

Key = tuple[str, str, int]
"""A kind of reader, an arm, and interactions."""

HELD_OUT: Final = "held-out catalogue posts"


@dataclass(frozen=True, slots=True)
class Results:
    """All figures.

    Attributes:
        rows: of every kind, arm and count.
        perplexities: of samples of their posts after MAIN interactions, and of HELD_OUT posts of the same tastes; each
            text by itself.
        tastes: SLOP's share on each single taste.
        effort: what learning an interaction costs; None if no prompt was tuned.
        composed: the share of readers of each kind who get composed posts after MAIN interactions; none without a
            style × subject prompts.
    """

    rows: Sequence[Row]
    perplexities: Mapping[Key, float]
    tastes: Mapping[str, Estimate]
    effort: Effort | None
    composed: Mapping[str, float] = field(default_factory=dict)

    def row(self, kind: str, arm: str, n: int = MAIN) -> Row | None:
        """One row, if there is such a one."""
        return next((row for row in self.rows if (row.kind, row.arm, row.n) == (kind, arm, n)), None)


def flat(row: Row, results: Results) -> tables.Row:
    """A row as files have it."""
    control = results.perplexities[row.kind, CONTROL, MAIN]
    own = results.perplexities.get((row.kind, row.arm, row.n))
    return {
        "kind": row.kind,
        "arm": row.arm,
        "n": row.n,
        **tables.interval("share", row.share),
        **tables.interval("by_keywords", row.keywords),
        **tables.interval("every_taste_among_8", row.every),
        **tables.interval("every_taste_among_8_by_two", row.every_by_parts),
        **tables.interval("all_tastes_in_one_post", row.at_once),
        **tables.interval("all_tastes_in_one_post_by_classifiers", row.at_once_by_classifiers),
        "share_by_seed": " ".join(f"{share:.3f}" for share in row.by_seed),
        "perplexity": round(own, 2) if own else "",
        "perplexity_x_control": round(own / control, 3) if own else "",
        "perplexity_held_out": round(results.perplexities[row.kind, HELD_OUT, 0], 2),
        "distinct2_x_control": round(row.distinct2, 3),
        "near_copies": round(row.near_copies, 4),
        "rewritten": round(row.rewritten, 4),
        "prompt_tokens": round(row.prompt_tokens, 1),
        "posts_a_reader": round(row.posts / row.readers, 1),
        "readers": row.readers,
    }


def table_of(results: Results, kind: str) -> Table:
    """What the arms wrote for one kind of reader."""
    table = Table(title=f"Readers with {kind}", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    headings = [
        "",
        "n",
        "on taste",
        "95%",
        "keywords",
        "every",
        "at once",
        "by two",
        "ppl",
        "distinct-2",
        "copies",
        "again",
        "tokens",
    ]
    for at, heading in enumerate(headings):
        table.add_column(heading, justify="right" if at else "left", no_wrap=True)
    for row in results.rows:
        if row.kind == kind:
            table.add_row(*_cells(row, results))
    return table


def _cells(row: Row, results: Results) -> list[str]:
    share, perplexity = row.share, results.perplexities.get((row.kind, row.arm, row.n))
    return [
        row.arm,
        str(row.n),
        f"{share.mean:.3f}",
        f"{share.low:.2f} to {share.high:.2f}",
        f"{row.keywords.mean:.3f}",
        f"{row.every.mean:.2f}" if row.every else "",
        f"{row.at_once.mean:.3f}",
        f"{row.at_once_by_classifiers.mean:.3f}" if row.at_once_by_classifiers else "",
        f"{perplexity:.1f}" if perplexity else "",
        f"{row.distinct2:.2f}",
        f"{row.near_copies:.1%}",
        f"{row.rewritten:.1%}",
        f"{row.prompt_tokens:.0f}",
    ]


def legend(results: Results, about: Mapping[str, Any]) -> list[str]:
    """What a person needs to know to read the tables."""
    held_out = ", ".join(f"{kind} {results.perplexities[kind, HELD_OUT, 0]:.1f}" for kind in TasteKind)
    lines = [
        f"{about['model']}, basis {about['basis']}, {about['readers']} readers of each kind and seed, seeds "
        f"{', '.join(map(str, about['seeds']))}; {about['exposure']:.0%} of what readers see is of their tastes, "
        f"{about['noise']:.0%} of reactions are wrong. Temperature {about['temperature']}, min-p {about['min_p']}. "
        "Features, rewards, update and drawing of prompts are production's own; "
        f"{about['writer']} wrote every text. Rows of another basis or writer are of an earlier run: those of rivals, "
        "which stand on no features.",
        f"On taste: share of posts, by a classifier ({about['classifier_accuracy']:.0%} right on the catalogue), with "
        "95% intervals over readers; keywords: by keyword and surface detectors. Every: readers who find each of their "
        "tastes among 8 posts. At once: posts of all tastes of the reader, by the detectors; by two: by a classifier "
        "of topics and one of styles, which in the files judge every taste among 8 too.",
        f"Perplexity of each text by itself under the plain model; held-out catalogue posts: {held_out}. Distinct-2 is "
        "by the control's. Copies: half of a post in one run in a catalogue post. Again: posts that took the place of "
        f"such a copy; in every arm, as generation does it, a copy is written again up to {about['rewrites']} times. "
        "Tokens: of the prompt.",
        f"Posts under a prompt do not depend on the reader: {about['pool']} are written for each prompt and seed "
        f"({about['words_pool']} for its words); "
        "readers are given different ones of these, and the control's are judged for every reader. The intervals do "
        "not see that readers share them; the figures of the seeds, each with posts of its own, do.",
        "Words: the words that each soft prompt was begun from, as system text. History: the last six liked posts.",
    ]
    if (changed := _followed(results)) is not None:
        lines.append(f"A changed taste, {MAIN} interactions after the change: {changed:.2f} of a fresh reader's share.")
    if results.composed:
        of_kinds = ", ".join(f"{kind} {share:.0%}" for kind, share in results.composed.items())
        lines.append(
            f"Composed: a style and a subject of the style × subject prompts {about['style_subject_version']} in every "
            f"post of readers with at least {COMPOSED_FROM:.0%} of either in their weights ({of_kinds}); the others "
            "get the mixture. That is what generation does; SLOP without it is the mixture for everybody. Readers of a "
            "seed with the same pair share its posts."
        )
    if results.effort:
        lines.append(
            f"CPU time to learn an interaction with a post whose features are there (once a post, not a reader): "
            f"{results.effort.ours:.0f} µs, by tuning a prompt for the reader "
            f"{results.effort.tuned / 1e6:.2f} s: {results.effort.ratio:,.0f} times as much."
        )
    return lines


def _followed(results: Results) -> float | None:
    changed, fresh = results.row(TasteKind.CHANGED, SOFT), results.row(TasteKind.CHANGED, FRESH)
    return changed.share.mean / fresh.share.mean if changed and fresh else None


def taste_table(tastes: Mapping[str, Estimate]) -> Table:
    """SLOP's share on each single taste."""
    table = Table(title=f"SLOP after {MAIN} interactions, taste by taste", title_justify="left", box=SIMPLE_HEAD)
    for heading in ("taste", "on taste", "95%"):
        table.add_column(heading)
    for taste, share in tastes.items():
        table.add_row(taste, f"{share.mean:.3f}", f"{share.low:.2f} to {share.high:.2f}")
    return table


def save_plot(path: Path, rows: Sequence[tables.Row], note: str) -> None:
    """A PNG: SLOP's share by interactions for every kind of reader, beside what the others reach."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    kinds = [kind for kind in TasteKind if kind != TasteKind.CHANGED]
    figure, panels = plt.subplots(1, len(kinds), figsize=(14, 4.6), layout="constrained", sharey=True)
    for axes, kind in zip(panels, kinds, strict=True):
        for arm in dict.fromkeys(row["arm"] for row in rows if row["kind"] == kind):
            of_arm = sorted((r for r in rows if (r["kind"], r["arm"]) == (kind, arm)), key=lambda row: row["n"])
            counts, middles, lows, highs = (
                [float(row[name]) for row in of_arm] for name in ("n", "share", "share_low", "share_high")
            )
            below = [middle - low for middle, low in zip(middles, lows, strict=True)]
            above = [high - middle for middle, high in zip(middles, highs, strict=True)]
            axes.errorbar(counts, middles, [below, above], marker="o", lw=2 if arm == SOFT else 1, label=arm)
        axes.set_xscale("log", base=2)
        axes.set_xticks(COUNTS, [str(count) for count in COUNTS])
        axes.set(title=kind.value, xlabel="interactions", ylim=(0, 1))
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("share of posts on a hidden taste")
    lines = {label: line for axes in panels for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=5, frameon=False)
    figure.suptitle(note, fontsize=9, color="#555555")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _is_a_rivals(row: tables.Row) -> bool:
    return row["arm"] in RIVALS


def _effort_of(about: Mapping[str, Any]) -> Effort | None:
    spent = about.get("effort")
    return Effort(spent["tuned"], spent["cpu_us_an_interaction"]) if spent else None


def show(
    console: Console, results: Results, about: Mapping[str, Any], folder: Path, earlier: Path | None = None
) -> None:
    """Print the tables, and write topics.csv, .md, .json and .png, with the rivals of an earlier run if there is one.

    Raises:
        UserError: the file of the earlier run is not such a one.
    """
    for kind in TasteKind:
        console.print(table_of(results, kind))
    console.print(taste_table(results.tastes))
    kept = tables.Earlier(earlier, ("kind", "arm", "n"), _is_a_rivals) if earlier else None
    rows = tables.joined([flat(row, results) for row in results.rows], about, ("basis", "writer"), kept)
    if kept and not results.effort:
        results = replace(results, effort=_effort_of(kept.about))
    notes = legend(results, about)
    console.print("\n".join(notes), style="dim", highlight=False)
    tastes: list[tables.Row] = [
        {"taste": taste, **tables.interval("share", share)} for taste, share in results.tastes.items()
    ]
    parts = ["# Posts on readers' hidden tastes", tables.markdown(rows), tables.markdown(tastes), *notes]
    spent = {"cpu_us_an_interaction": results.effort.ours, "tuned": results.effort.tuned} if results.effort else {}
    figures = {"tastes": tastes, "effort": spent, "composed": dict(results.composed)}
    tables.save(folder, "topics", rows, {**about, **figures}, "\n\n".join(parts))
    save_plot(folder / "topics.png", rows, f"{about['model']}; bars: 95% over readers of {len(about['seeds'])} seeds")
    console.print(f"Results: {folder}/topics.csv, .md, .json and .png", highlight=False)
