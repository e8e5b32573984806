"""How many tastes a reader's profile holds, by how many there are and after how many interactions: a heat map.

    python -m studies.capacity [--readers 40] [--out studies/results]

The readers, the update, the drawing and the posts under each prompt are those of `studies.topics`, whose texts are
taken where they have been written.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings
from rich.console import Console
from rich.table import Table

from slop.basis import Basis
from slop.settings import LearningSettings
from studies import tables
from studies.detectors import Classifier
from studies.folders import RESULTS
from studies.metrics import Estimate, over_readers
from studies.posts import Catalogue, Post, load_catalogue
from studies.screen import LOCAL, options_of, progress_on, run_study
from studies.topics import people
from studies.topics.arms import Given, Pool, served
from studies.topics.figures import Classes, found_in, share_of
from studies.topics.people import Habits, Learner, Member
from studies.topics.pools import kept_pools
from studies.topics.shown import learner_and_posts

MEASURES: Final = {"share": "posts on one of the tastes", "held": "tastes found among the posts"}


class CapacitySettings(BaseSettings):
    """Options of the study."""

    model_config = options_of("capacity")

    out: Path = Field(RESULTS, validation_alias=AliasChoices("out", "OUT"), description="folder of the results")
    seeds: list[int] = Field([0, 1, 2], min_length=1, description="of the readers; each has posts of its own")
    readers: int = Field(40, ge=2, le=1_000, description="readers of every number of tastes and seed")
    tastes: list[int] = Field([1, 2, 3, 4, 6, 8, 12], min_length=1, description="how many tastes readers have")
    counts: list[int] = Field([4, 8, 16, 32, 64], min_length=1, description="interactions, rising")
    posts: int = Field(16, ge=1, le=64, description="that each reader asks for at every count")
    pool: int = Field(32, ge=16, le=500, description="posts under each prompt and seed; 32 are those of topics")
    shown: int = Field(34, ge=16, le=54, description="catalogue posts of each class that readers may see")
    noise: float = Field(0.1, ge=0, lt=0.5, description="share of reactions that are the wrong way round")
    exposure: float = Field(0.5, ge=0.1, le=1, description="share of the shown posts from the reader's own classes")
    local: bool = Field(False, description=LOCAL)


@dataclass(frozen=True, slots=True)
class Cell:
    """Readers with so many tastes after so many interactions.

    Attributes:
        share: of their posts on one of the tastes.
        held: share of their tastes found among the posts.
    """

    tastes: int
    n: int
    share: Estimate
    held: Estimate
    readers: int


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


def study(settings: CapacitySettings, console: Console, catalogue: Catalogue, basis: Basis) -> list[Cell]:
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


def flat(cell: Cell) -> tables.Row:
    """A row for files."""
    measures = tables.interval("share", cell.share) | tables.interval("held", cell.held)
    return {"tastes": cell.tastes, "n": cell.n, **measures, "readers": cell.readers}


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


def save_plot(path: Path, cells: Sequence[Cell], note: str) -> None:
    """A PNG with a heat map of each measure."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    tastes, counts = (list(dict.fromkeys(getattr(cell, name) for cell in cells)) for name in ("tastes", "n"))
    figure, panels = plt.subplots(1, len(MEASURES), figsize=(11, 4.6), layout="constrained")
    for axes, (measure, title) in zip(panels, MEASURES.items(), strict=True):
        values = np.array([getattr(cell, measure).mean for cell in cells]).reshape(len(tastes), len(counts))
        axes.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color="white" if value < 0.6 else "black")
        axes.set_xticks(range(len(counts)), [str(n) for n in counts])
        axes.set_yticks(range(len(tastes)), [str(number) for number in tastes])
        axes.set(title=f"share of {title}", xlabel="interactions", ylabel="tastes of the reader")
    figure.suptitle(note, fontsize=9, color="#555555")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def capacity(settings: CapacitySettings, console: Console) -> None:
    """Run the study, print the tables and write the files.

    Raises:
        StudyError, StackFailed, MissingBinary: it can't go on; the message says why.
    """
    basis = Basis.load(LearningSettings().basis_dir)
    cells = study(settings, console, load_catalogue(), basis)
    for measure in MEASURES:
        console.print(table_of(cells, measure))
    note = (
        f"{basis.model}, basis {basis.version} of {basis.size} prompts; {settings.readers} readers a row and seed, "
        f"seeds {', '.join(map(str, settings.seeds))}; {settings.posts} posts each, {settings.noise:.0%} of reactions "
        f"wrong, {settings.exposure:.0%} of what is shown on a taste"
    )
    console.print(note, style="dim", highlight=False)
    about: dict[str, Any] = settings.model_dump(exclude={"out"}) | {"model": basis.model, "basis": basis.version}
    rows = [flat(cell) for cell in cells]
    page = f"# How many tastes a profile holds\n\n{tables.markdown(rows)}\n{note}"
    tables.save(settings.out, "capacity", rows, about, page)
    save_plot(settings.out / "capacity.png", cells, note)
    console.print(f"Results: {settings.out}/capacity.csv, .md, .json and .png", highlight=False)


def main() -> int:
    """The command line; returns the exit status."""
    return run_study(lambda console: capacity(CapacitySettings(), console))


if __name__ == "__main__":
    raise SystemExit(main())
