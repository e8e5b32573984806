"""Compares clusterings to begin a basis from: by blocks of features, number of clusters, and seed.

    python -m research.clusters [--counts '[16, 24, 32]'] [--out FOLDER]

Clusters are found as `make basis` finds them, without labels. They are judged by the catalogue's class names, and by
how well unseen posts are ranked for readers when each cluster is one feature. No prompt is trained. Engagement is that
of other readers, as in `training.basis --log`. Nobody has reacted to the posts that are ranked, so these are placed by
their embeddings and style alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings
from rich.console import Console
from rich.table import Table
from scipy.special import softmax

from client.catalogue import LabelledCatalogue, Post, by_label, load_catalogue
from research import jokes, tables
from research.embedder import sentence_embedder
from research.encoders.arms import Encoder
from research.encoders.figures import rows_of
from research.folders import KEPT, RESULTS
from research.metrics import Estimate, over_readers
from research.other_readers import other_readers, reactions_of
from research.screen import options_of, progress_on, run_study
from research.topics.people import MAIN, Habits, Member, TasteKind, members_of
from slop.basis import Basis
from slop.settings import LearningSettings
from training.basis.blocks import ENGAGEMENT_SHARE, STYLE_SHARE, Blocks, blocks_of
from training.basis.clusters import Labels, centers_of, distances_to, initial_clusters
from training.basis.engagement import engagement_of

Floats = npt.NDArray[np.float32]

SHARPNESS: Final = 4.0
LOST: Final = 0.5
SPACES: Final[Mapping[str, tuple[float, float, float]]] = {
    "hidden states": (1, 0, 0),
    "sentence embeddings": (0, 1, 0),
    "stylometrics": (0, 0, 1),
    "hidden and sentences": (1, 1, 0),
    "sentences and style": (0, 1, STYLE_SHARE),
    "all three, style 0.4": (1, 1, 0.4),
    "all three, style 0.7": (1, 1, STYLE_SHARE),
    "all three, style 1": (1, 1, 1),
}
"""How much hidden states, sentence embeddings and stylometrics count; the one in use is sentences and style."""
SHIPPED: Final = "sentences and style"
ENGAGED: Final[Mapping[str, tuple[float, float]]] = {
    "engagement alone": (0, 1),
    "sentences, style and engagement": (1, ENGAGEMENT_SHARE),
}
"""How much the space in use counts, and what other readers like together."""


class ClustersSettings(BaseSettings):
    """Options of the study."""

    model_config = options_of("clusters")

    out: Path = Field(RESULTS, validation_alias=AliasChoices("out", "OUT"), description="folder of the results")
    counts: list[int] = Field([16, 20, 24, 28, 32, 40], min_length=1, description="clusters, for the space in use")
    count: int = Field(24, ge=2, description="clusters, for all other spaces")
    seeds: list[int] = Field([0, 1, 2, 3, 4], min_length=1, description="of k-means, and of the other readers")
    crowds: list[int] = Field([50, 200, 1_000], description="readers whose engagement is known, 32 reactions each")
    readers: int = Field(40, ge=2, le=1_000, description="readers of each kind")
    unseen: int = Field(6, ge=1, le=18, description="posts of each class that are ranked")
    noise: float = Field(0.1, ge=0, lt=0.5, description="share of reactions that are the wrong way round")
    exposure: float = Field(0.5, ge=0.1, le=1, description="share of the shown posts from the reader's own classes")


@dataclass(frozen=True, slots=True)
class Way:
    """One way to cluster; `others` is how many other readers' engagement is known."""

    space: str
    count: int
    others: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One way to cluster, over all seeds.

    Attributes:
        f1: of the best cluster of a class, mean over classes.
        worst: of the class that is found worst, mean over seeds.
        lost: classes without a cluster of F1 >= LOST, mean over seeds.
        ranking: share of pairs of unseen posts that are ranked right after MAIN interactions.
    """

    way: Way
    f1: Estimate
    worst: float
    lost: float
    ranking: Estimate


def space_of(blocks: Blocks, weights: tuple[float, float, float]) -> Floats:
    """The blocks side by side, each times its weight."""
    return np.hstack([weight * block for weight, block in zip(weights, blocks, strict=True)]).astype(np.float32)


def best_f1(labels: Labels, classes: Sequence[str]) -> dict[str, float]:
    """For each class the F1 of the cluster that is nearest to it."""
    names, truth = np.unique(np.array(classes), return_inverse=True)
    joint = np.zeros((names.size, int(labels.max()) + 1))
    np.add.at(joint, (truth, labels), 1)
    f1 = 2 * joint / (joint.sum(axis=1, keepdims=True) + joint.sum(axis=0, keepdims=True))
    return dict(zip(names.tolist(), f1.max(axis=1).tolist(), strict=True))


def features_of(space: Floats, centers: Floats) -> Floats:
    """(N, K + 1) features: nearness of posts to each centre, as centred shares of mean norm 1; and a length of 0."""
    squared = distances_to(space, centers).astype(np.float64) ** 2
    shares = softmax(-SHARPNESS * squared / squared.min(axis=1).mean(), axis=1)
    centred = shares - shares.mean(axis=0)
    scaled = centred / np.linalg.norm(centred, axis=1).mean()
    return np.hstack([scaled, np.zeros((len(space), 1))]).astype(np.float32)


class Clusterings:
    """Clusters the shown posts, and ranks the unseen ones for readers."""

    def __init__(
        self,
        basis: Basis,
        blocks: Blocks,
        shown: Sequence[Post],
        unseen: Sequence[Post],
        members: Sequence[Member],
        habits: Habits,
    ) -> None:
        """`blocks` are of the shown posts, then the unseen ones; `habits` are those of the other readers."""
        self._basis, self._blocks = basis, blocks
        self._shown, self._unseen, self._members, self._habits = shown, unseen, members, habits

    def row(self, way: Way, seeds: Sequence[int]) -> Row:
        """One way to cluster."""
        content = space_of(self._blocks, SPACES.get(way.space, SPACES[SHIPPED]))
        shown = content[: len(self._shown)]
        found, ranking = [], []
        for seed in seeds:
            labels = initial_clusters(self._engaged(shown, way, seed), way.count, seed)
            found.append(best_f1(labels, [post.label for post in self._shown]))
            ranking += self._ranked(features_of(content, centers_of(shown, labels, way.count)))
        return Row(
            way,
            over_readers([float(np.mean(list(of_seed.values()))) for of_seed in found]),
            float(np.mean([min(of_seed.values()) for of_seed in found])),
            float(np.mean([sum(f1 < LOST for f1 in of_seed.values()) for of_seed in found])),
            over_readers(ranking),
        )

    def _engaged(self, content: Floats, way: Way, seed: int) -> Floats:
        """The content of the shown posts, beside what `way.others` other readers of this seed like together."""
        if not way.others:
            return content
        others = other_readers(self._shown, replace(self._habits, readers=way.others), seed)
        places = {post.post_id: place for place, post in enumerate(self._shown)}
        engagement = engagement_of(reactions_of(others, places), seed)
        own, share = ENGAGED[way.space]
        blocks = [own * content] if engagement is None else [own * content, share * engagement]
        return np.hstack(blocks).astype(np.float32)

    def _ranked(self, features: Floats) -> list[float]:
        encoder = Encoder("clusters", features, over_prompts=False, milliseconds=0.0)
        rows = rows_of(encoder, self._basis, (self._shown, self._unseen), self._members, {})
        return [next(row.ranking.mean for row in rows if row.n == MAIN)]


def variants(settings: ClustersSettings) -> Iterator[Way]:
    """Every space at one count, the space in use at the other counts, and with the engagement of some readers."""
    yield from (Way(name, settings.count) for name in SPACES)
    yield from (Way(SHIPPED, count) for count in settings.counts if count != settings.count)
    yield from (Way(name, settings.count, others) for name in ENGAGED for others in settings.crowds)


def blocks_kept(basis: Basis, texts: list[str], seed: int) -> Blocks:
    """The blocks of posts, kept in .run/studies for the next time."""
    digest = sha256("\0".join([basis.revision, str(seed), *texts]).encode()).hexdigest()[:12]
    path = KEPT / f"blocks-{digest}.npz"
    if not path.exists():
        model = jokes.language_model(basis)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **blocks_of(texts, model.hidden_states(texts), sentence_embedder(texts), seed)._asdict())
    return Blocks(**np.load(path))


def study(settings: ClustersSettings, console: Console, catalogue: LabelledCatalogue, basis: Basis) -> list[Row]:
    """All rows."""
    unseen = [post for posts in by_label(catalogue.held_out).values() for post in posts[: settings.unseen]]
    habits = Habits(settings.readers, settings.noise, settings.exposure)
    kinds, shown = (TasteKind.TOPIC, TasteKind.STYLE, TasteKind.TWO), by_label(catalogue.shown)
    members = [member for kind in kinds for member in members_of(kind, shown, habits, settings.seeds[0])]
    listed = list(variants(settings))
    texts = [post.text for post in (*catalogue.shown, *unseen)]
    blocks = blocks_kept(basis, texts, settings.seeds[0])
    with progress_on(console) as progress:
        clusterings = Clusterings(basis, blocks, catalogue.shown, unseen, members, habits)
        tracked = progress.track(listed, description="ways to cluster")
        return [clusterings.row(way, settings.seeds) for way in tracked]


def table_of(rows: Sequence[Row]) -> Table:
    """The rows."""
    table = Table(title="Ways to cluster the catalogue", title_justify="left")
    for heading in ("space", "clusters", "readers", "F1 of a class", "the worst", "classes lost", "ranking"):
        table.add_column(heading, justify="left" if heading == "space" else "right")
    for row in rows:
        figures = (f"{row.f1.mean:.3f}", f"{row.worst:.2f}", f"{row.lost:.1f}", f"{row.ranking.mean:.3f}")
        table.add_row(row.way.space, str(row.way.count), str(row.way.others or "–"), *figures)
    return table


def flat(row: Row) -> tables.Row:
    """A row for files."""
    return {
        "space": row.way.space,
        "clusters": row.way.count,
        "readers": row.way.others,
        **tables.interval("f1", row.f1),
        "worst_f1": round(row.worst, 4),
        "classes_lost": round(row.lost, 2),
        **tables.interval("ranking", row.ranking),
    }


def label(way: Way) -> str:
    """A way to cluster, for a plot."""
    return f"{way.space}, {way.count}" + (f", {way.others} readers" if way.others else "")


def save_plot(path: Path, rows: Sequence[Row]) -> None:
    """A PNG: both measures of every way to cluster."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(11, 0.4 * len(rows) + 1.2), layout="constrained", sharey=True)
    measures = (
        ("F1 of the best cluster of a class", [row.f1 for row in rows]),
        (f"pairs of unseen posts ranked right, n = {MAIN}", [row.ranking for row in rows]),
    )
    for axes, (title, estimates) in zip(panels, measures, strict=True):
        ends = [[e.mean - e.low for e in estimates], [e.high - e.mean for e in estimates]]
        axes.errorbar([e.mean for e in estimates], range(len(rows)), xerr=ends, fmt="o", color="#1b7837")
        axes.set_title(title, loc="left", fontsize=10)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(rows)), [label(row.way) for row in rows])
    panels[0].invert_yaxis()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def compare(settings: ClustersSettings, console: Console) -> None:
    """Run the study, print the table and write the files.

    Raises:
        UserError, StackFailed, MissingBinary: it can't go on; the message says why.
    """
    basis = Basis.load(LearningSettings().basis_dir)
    rows = study(settings, console, load_catalogue(), basis)
    console.print(table_of(rows))
    note = (
        f"{basis.model}; k-means with seeds {', '.join(map(str, settings.seeds))}. A class is lost if no cluster has "
        f"an F1 of {LOST} with it. Ranking: {3 * settings.readers} readers (one topic, one style, two tastes), "
        f"{settings.noise:.0%} of reactions wrong, each cluster one feature. Engagement is of so many other readers, "
        "32 reactions each, spread over all posts; ranked are posts that none of them saw. Intervals: 95%, bootstrap "
        "over seeds."
    )
    about: dict[str, Any] = settings.model_dump(exclude={"out"}) | {"model": basis.model}
    tables.publish(
        console,
        settings.out,
        "clusters",
        [flat(row) for row in rows],
        about,
        title="Ways to cluster the catalogue",
        note=note,
        plot=lambda path: save_plot(path, rows),
    )


def main() -> int:
    """The command line; returns the exit status."""
    return run_study(lambda console: compare(ClustersSettings(), console))


if __name__ == "__main__":
    raise SystemExit(main())
