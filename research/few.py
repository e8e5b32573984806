"""Whether classes of few posts get a cluster, by initialisation, smallest cluster and engagement.

    python -m research.few [--posts 12] [--seeds '[0, 1, 2, 3, 4]'] [--out FOLDER]

For each seed some classes of the catalogue, drawn anew, have few posts and the others all of theirs. Clusters are found
as `training.basis` finds them, from sentences and style, and with --log from engagement too. No prompt is trained.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings
from rich.console import Console
from rich.table import Table

from client.catalogue import LabelledCatalogue, Post, load_catalogue, with_few
from client.classes import load_classes
from research import tables
from research.clusters import LOST, best_f1
from research.embedder import sentence_embedder
from research.folders import RESULTS
from research.metrics import Estimate, over_readers
from research.other_readers import other_readers, reactions_of
from research.screen import options_of, progress_on, run_study
from research.topics.people import Habits
from training.basis.blocks import clustering_space
from training.basis.build import BuildOptions
from training.basis.clusters import FEW, SMALLEST, initial_clusters
from training.basis.engagement import engagement_of

OF_A_KIND: Final = 2  # so many topics, and as many styles, have few posts


class FewSettings(BaseSettings):
    """Options of the study."""

    model_config = options_of("few")

    out: Path = Field(RESULTS, validation_alias=AliasChoices("out", "OUT"), description="folder of the results")
    posts: int = Field(12, ge=2, le=54, description=f"of {OF_A_KIND} topics and {OF_A_KIND} styles")
    count: int = Field(BuildOptions().prompts, ge=2, description="clusters")
    seeds: list[int] = Field([0, 1, 2, 3, 4], min_length=1, description="of the classes, of k-means and of the crowd")
    crowds: list[int] = Field([0, 200, 1_000], min_length=1, description="readers whose engagement is known")
    noise: float = Field(0.1, ge=0, lt=0.5, description="share of reactions that are the wrong way round")
    exposure: float = Field(0.3, ge=0.1, le=0.37, description="share of what readers see from their own classes")


@dataclass(frozen=True, slots=True)
class Way:
    """One way to cluster; see `training.basis.build.BuildOptions`."""

    ward: bool
    smallest: int
    crowd: int


@dataclass(frozen=True, slots=True)
class Row:
    """One way to cluster, over all seeds.

    Attributes:
        few: F1 of the best cluster of a class with few posts.
        lost: share of those without a cluster of F1 >= LOST.
        every: F1 of the best cluster of a class, mean over all classes.
    """

    way: Way
    few: Estimate
    lost: float
    every: Estimate


@dataclass(frozen=True, slots=True)
class Draw:
    """The posts of one seed, their embeddings, (N, E), and the classes of which there are few."""

    seed: int
    posts: Sequence[Post]
    embeddings: npt.NDArray[np.float32]
    few: Sequence[str]


def draws(settings: FewSettings, catalogue: LabelledCatalogue) -> Iterator[Draw]:
    """The posts of every seed."""
    embeddings = sentence_embedder([post.text for post in catalogue.shown])
    kinds = {name: spec.kind for name, spec in load_classes().items()}
    for seed in settings.seeds:
        rng = np.random.default_rng(seed)
        names = [sorted(name for name in kinds if kinds[name] == kind) for kind in ("topic", "style")]
        few = [str(name) for of_kind in names for name in rng.permutation(of_kind)[:OF_A_KIND]]
        kept = with_few(catalogue.shown, dict.fromkeys(few, settings.posts))
        yield Draw(seed, [catalogue.shown[place] for place in kept], embeddings[kept], few)


def ways(settings: FewSettings) -> list[Way]:
    """All ways."""
    starts = [(ward, smallest) for ward in (False, True) for smallest in (SMALLEST, FEW)]
    return [Way(ward, smallest, crowd) for crowd in settings.crowds for ward, smallest in starts]


def row_of(way: Way, drawn: Sequence[Draw], settings: FewSettings) -> Row:
    """One way to cluster."""
    found = [best_f1(labels_of(way, draw, settings), [post.label for post in draw.posts]) for draw in drawn]
    few = [f1[name] for f1, draw in zip(found, drawn, strict=True) for name in draw.few]
    every = [float(np.mean(list(f1.values()))) for f1 in found]
    return Row(way, over_readers(few), sum(f1 < LOST for f1 in few) / len(few), over_readers(every))


def labels_of(way: Way, draw: Draw, settings: FewSettings) -> npt.NDArray[np.intp]:
    """(N,) the clusters of the posts of one seed."""
    engagement = None
    if way.crowd:
        crowd = other_readers(draw.posts, Habits(way.crowd, settings.noise, settings.exposure), draw.seed)
        places = {post.post_id: place for place, post in enumerate(draw.posts)}
        engagement = engagement_of(reactions_of(crowd, places), draw.seed)
    space = clustering_space([post.text for post in draw.posts], draw.embeddings, draw.seed, engagement)
    return initial_clusters(space, settings.count, draw.seed, ward=way.ward, smallest=way.smallest)


def flat(row: Row) -> tables.Row:
    """A row for files."""
    return {
        "readers": row.way.crowd,
        "begun from": "Ward's clusters" if row.way.ward else "k-means++",
        "smallest": row.way.smallest,
        **tables.interval("f1_of_few", row.few),
        "few_lost": round(row.lost, 3),
        **tables.interval("f1_of_all", row.every),
    }


def table_of(rows: Sequence[Row]) -> Table:
    """The rows."""
    table = Table(title="Classes of few posts", title_justify="left")
    for heading in ("readers", "begun from", "smallest cluster", "F1 of few", "lost", "F1 of all"):
        table.add_column(heading, justify="left" if heading == "begun from" else "right")
    for row in rows:
        cells = flat(row)
        few, every = f"{row.few.mean:.2f}", f"{row.every.mean:.3f}"
        names = (str(cells["readers"] or "–"), str(cells["begun from"]), str(cells["smallest"]))
        table.add_row(*names, few, f"{row.lost:.0%}", every)
    return table


def save_plot(path: Path, rows: Sequence[Row]) -> None:
    """A PNG: how well classes of few posts are found, by how many readers' engagement is known."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    crowds = sorted({row.way.crowd for row in rows})
    for ward, smallest in dict.fromkeys((row.way.ward, row.way.smallest) for row in rows):
        few = [row.few for row in rows if (row.way.ward, row.way.smallest) == (ward, smallest)]
        ends = [[e.mean - e.low for e in few], [e.high - e.mean for e in few]]
        label = f"{'Ward' if ward else 'k-means++'}, clusters of {smallest} or more"
        axes.errorbar(range(len(crowds)), [e.mean for e in few], ends, marker="o", capsize=3, label=label)
    axes.set_xticks(range(len(crowds)), [str(crowd) for crowd in crowds])
    axes.set(xlabel="readers whose engagement is known", ylabel="F1 of a class of few posts", ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def compare(settings: FewSettings, console: Console) -> None:
    """Run the study, print the table and write the files.

    Raises:
        UserError: it can't go on; the message says why.
    """
    with progress_on(console) as progress:
        drawn = list(draws(settings, load_catalogue()))
        rows = [row_of(way, drawn, settings) for way in progress.track(ways(settings), description="ways to cluster")]
    console.print(table_of(rows))
    note = (
        f"{settings.posts} posts of {OF_A_KIND} topics and {OF_A_KIND} styles, which differ by seed "
        f"({', '.join(map(str, settings.seeds))}), 54 of the others; {settings.count} clusters. A class is lost if no "
        f"cluster has an F1 of {LOST} with it. Readers: 32 reactions each, {settings.noise:.0%} of them wrong, "
        f"{settings.exposure:.0%} of what they see is of their tastes. Intervals: 95%, over classes and seeds."
    )
    about: dict[str, Any] = settings.model_dump(exclude={"out"})
    tables.publish(
        console,
        settings.out,
        "few",
        [flat(row) for row in rows],
        about,
        title="Classes of few posts",
        note=note,
        plot=lambda path: save_plot(path, rows),
    )


def main() -> int:
    """The command line; returns the exit status."""
    return run_study(lambda console: compare(FewSettings(), console))


if __name__ == "__main__":
    raise SystemExit(main())
