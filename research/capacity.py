"""How many tastes a profile can hold, by the reader's number of tastes and of interactions: a heat map.

    python -m research.capacity [--readers 40] [--out research/results]

The basis in use is compared with bases of other sizes that `research.variants` has built: with more or fewer prompts,
or longer ones. Readers, update, drawing and posts under each prompt are those of `research.topics`; texts that it has
written are used again. For bases that were not built here, CAPACITY_EARLIER=file gives the rows of an earlier run.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings
from rich.console import Console
from rich.table import Table

from client.catalogue import LabelledCatalogue, Post, load_catalogue
from research import tables
from research.detectors import Classifier
from research.folders import RESULTS
from research.metrics import Estimate, over_readers
from research.screen import LOCAL, options_of, progress_on, run_study
from research.topics import people
from research.topics.arms import Given, Pool, served
from research.topics.figures import Classes, found_in, share_of
from research.topics.people import Habits, Learner, Member
from research.topics.pools import kept_pools
from research.topics.shown import learner_and_posts
from research.variants.builds import CHANGES, Variant
from slop.basis import Basis
from slop.settings import LearningSettings
from training.basis.build import BuildOptions

SIZES: Final = tuple(name for name in CHANGES if name.split()[-1] in {"prompts", "rows"} and name[0].isdigit())
"""Variants of `research.variants` that differ from what ships in the number of prompts or in their length."""
MEASURES: Final = {"share": "posts on one of the tastes", "held": "tastes found among the posts"}


class CapacitySettings(BaseSettings):
    """Options of the study."""

    model_config = options_of("capacity")

    out: Path = Field(RESULTS, validation_alias=AliasChoices("out", "OUT"), description="folder of the results")
    seeds: list[int] = Field([0, 1, 2], min_length=1, description="of the readers; each has posts of its own")
    readers: int = Field(40, ge=2, le=1_000, description="readers of every number of tastes and seed")
    tastes: list[int] = Field([1, 2, 3, 4, 6, 8, 12], min_length=1, description="how many tastes readers have")
    counts: list[int] = Field([4, 8, 16, 32, 64], min_length=1, description="interactions, rising")
    compared_at: int = Field(32, ge=1, description="interactions after which bases of other sizes are compared")
    posts: int = Field(16, ge=1, le=64, description="that each reader asks for at every count")
    pool: int = Field(32, ge=16, le=500, description="posts under each prompt and seed; 32 are those of topics")
    shown: int = Field(34, ge=16, le=54, description="catalogue posts of each class that readers may see")
    noise: float = Field(0.1, ge=0, lt=0.5, description="share of reactions that are the wrong way round")
    exposure: float = Field(0.5, ge=0.1, le=1, description="share of the shown posts from the reader's own classes")
    local: bool = Field(False, description=LOCAL)
    earlier: Path | None = Field(None, description="capacity.json of an earlier run, whose other bases' rows are kept")


@dataclass(frozen=True, slots=True)
class Cell:
    """The figures of readers with some number of tastes after some number of interactions.

    Attributes:
        share: of their posts on one of the tastes.
        held: share of their tastes found among the posts.
        prompts: K of the basis.
        rows: virtual tokens of a prompt.
    """

    tastes: int
    n: int
    share: Estimate
    held: Estimate
    readers: int
    prompts: int = 0
    rows: int = 0


def members_with(
    tastes: int, posts: Mapping[str, Sequence[Post]], settings: CapacitySettings, seed: int
) -> list[Member]:
    """Readers with so many tastes and everything they do."""
    habits = Habits(settings.readers, settings.noise, settings.exposure)
    return people.members_with(f"{tastes} tastes", tastes, posts, habits, seed, max(settings.counts))


def given_to(
    members: Sequence[Member], basis: Basis, learner: Learner, pools: Mapping[int, Pool], settings: CapacitySettings
) -> list[Given]:
    """The posts of every reader at every count; none for a reader without a positive weight."""
    given = []
    for number, member in enumerate(members):
        rng, pool = np.random.default_rng([member.seed, number]), pools[member.seed]
        for n, profile in learner.profiles(member, settings.counts).items():
            posts = served(basis, pool, profile, rng, settings.posts) or []
            given.append(Given("SLOP", n, member, posts, pool.prompt_tokens))
    return given


def cells_of(tastes: int, given: Sequence[Given], classes: Classes) -> list[Cell]:
    """The figures of readers with so many tastes; a reader without posts has none on a taste."""
    cells = []
    for n in dict.fromkeys(one.n for one in given):
        group = [one for one in given if one.n == n]
        share = over_readers([share_of(one, classes) if one.posts else 0.0 for one in group])
        held = over_readers([len(found_in(one, classes) & set(one.member.tastes)) / tastes for one in group])
        cells.append(Cell(tastes, n, share, held, len(group)))
    return cells


def study(settings: CapacitySettings, console: Console, catalogue: LabelledCatalogue, basis: Basis) -> list[Cell]:
    """All cells."""
    with progress_on(console) as progress:
        learner, posts = learner_and_posts(basis, catalogue, settings.shown, progress)
    pools = asyncio.run(kept_pools(console, basis, settings.seeds, settings.pool, local=settings.local))
    texts = sorted({text for pool in pools.values() for under in pool.posts for text in under})
    classes = dict(zip(texts, Classifier.trained_on(catalogue.held_out)(texts), strict=True))
    return [
        cell
        for tastes in settings.tastes
        for members in [[m for seed in settings.seeds for m in members_with(tastes, posts, settings, seed)]]
        for cell in cells_of(tastes, given_to(members, basis, learner, pools, settings), classes)
    ]


def sized(cells: Sequence[Cell], basis: Basis) -> list[Cell]:
    """Cells with the size of the basis."""
    return [replace(cell, prompts=basis.size, rows=int(basis.prompts.shape[1])) for cell in cells]


def of_other_bases(
    settings: CapacitySettings, console: Console, catalogue: LabelledCatalogue, live: Basis
) -> list[Cell]:
    """The cells after `settings.compared_at` interactions under bases of other sizes, those that have been built."""
    at_once = settings.model_copy(update={"counts": [settings.compared_at]})
    cells = []
    for name in SIZES:
        variant = Variant.named(name)
        if variant.is_built(live):
            basis = variant.basis(live, catalogue)
            cells += sized(study(at_once, console, catalogue, basis), basis)
    return cells


def flat(cell: Cell) -> tables.Row:
    """A row for files."""
    measures = tables.interval("share", cell.share) | tables.interval("held", cell.held)
    size = {"prompts": cell.prompts, "rows": cell.rows}
    return {"tastes": cell.tastes, "n": cell.n, **size, **measures, "readers": cell.readers}


def table_of(cells: Sequence[Cell], measure: str) -> Table:
    """One measure: tastes down, interactions across."""
    counts = list(dict.fromkeys(cell.n for cell in cells))
    table = Table(title=f"Share of {MEASURES[measure]}, by tastes and interactions", title_justify="left")
    for heading in ("tastes", *(f"n = {n}" for n in counts)):
        table.add_column(heading, justify="right")
    for tastes in dict.fromkeys(cell.tastes for cell in cells):
        of = {cell.n: getattr(cell, measure).mean for cell in cells if cell.tastes == tastes}
        table.add_row(str(tastes), *(f"{of[n]:.3f}" for n in counts))
    return table


def save_plot(path: Path, rows: Sequence[tables.Row], others: Sequence[tables.Row], note: str) -> None:
    """A PNG of heat maps: both measures by interactions, and `held` by the size of the basis."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    maps = [(f"share of {title}", rows, measure, "n", "interactions") for measure, title in MEASURES.items()]
    for name, title in (("prompts", "prompts of the basis"), ("rows", "virtual tokens of a prompt")):
        if len({row[name] for row in alike(others, name)}) > 1:
            maps.append((f"share of {MEASURES['held']}", alike(others, name), "held", name, title))
    figure, panels = plt.subplots(1, len(maps), figsize=(5.5 * len(maps), 4.6), layout="constrained")
    for axes, (title, shown, measure, across, label) in zip(panels, maps, strict=True):
        tastes, columns = (sorted({row[key] for row in shown}) for key in ("tastes", across))
        of = {(row["tastes"], row[across]): float(row[measure]) for row in shown}
        values = np.array([[of[taste, column] for column in columns] for taste in tastes])
        axes.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color="white" if value < 0.6 else "black")
        axes.set_xticks(range(len(columns)), [str(column) for column in columns])
        axes.set_yticks(range(len(tastes)), [str(taste) for taste in tastes])
        axes.set(title=title, xlabel=label, ylabel="tastes of the reader")
    figure.suptitle(note, fontsize=9, color="#555555")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def alike(others: Sequence[tables.Row], name: str) -> list[tables.Row]:
    """Cells of bases that differ from the one that ships only in `name`, which is prompts or rows."""
    other = {"prompts": "rows", "rows": "prompts"}[name]
    usual = getattr(BuildOptions(), other)
    return [row for row in others if row[other] == usual]


def capacity(settings: CapacitySettings, console: Console) -> None:
    """Run the study, print the tables and write the files.

    Raises:
        UserError, StackFailed, MissingBinary: it can't go on; the message says why.
    """
    basis = Basis.load(LearningSettings().basis_dir)
    catalogue = load_catalogue()
    cells = sized(study(settings, console, catalogue, basis), basis)
    others = of_other_bases(settings, console, catalogue, basis)
    for measure in MEASURES:
        console.print(table_of(cells, measure))
    about: dict[str, Any] = settings.model_dump(exclude={"out", "earlier"}) | {
        "model": basis.model,
        "basis": basis.version,
    }
    key = ("tastes", "n", "prompts", "rows")
    kept = tables.Earlier(settings.earlier, key, _is_of_another_size) if settings.earlier else None
    rows = tables.joined([flat(cell) for cell in (*cells, *others)], about, ["basis"], kept)
    note = (
        f"{basis.model}, basis {basis.version} of {basis.size} prompts; {settings.readers} readers a row and seed, "
        f"seeds {', '.join(map(str, settings.seeds))}; {settings.posts} posts each, {settings.noise:.0%} of reactions "
        f"wrong, {settings.exposure:.0%} of what is shown on a taste. Bases of other sizes are compared after "
        f"{settings.compared_at} interactions; their rows are of an earlier run where the basis is another one."
    )
    own = [row for row in rows if row["basis"] == basis.version and not _is_of_another_size(row)]
    compared = [row for row in rows if row["n"] == settings.compared_at]
    tables.publish(
        console,
        settings.out,
        "capacity",
        rows,
        about,
        title="How many tastes a profile holds",
        note=note,
        plot=lambda path: save_plot(path, own, compared, note),
    )


def _is_of_another_size(row: tables.Row) -> bool:
    usual = BuildOptions()
    return (row["prompts"], row["rows"]) != (usual.prompts, usual.rows)


def main() -> int:
    """The command line; returns the exit status."""
    return run_study(lambda console: capacity(CapacitySettings(), console))


if __name__ == "__main__":
    raise SystemExit(main())
