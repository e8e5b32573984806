"""How well jokes are ranked for new readers after a few ratings: jokes that others rated, and new ones.

    DATA=folder python -m research.humor [--readers 500] [--language-readers 16] [--tuned-readers 6]

The folder is the replay's: jokes.json and ratings.csv.gz. Most readers' ratings fit the factors, exactly as
`training.factors` fits them to the log; the others are new, and their ratings are learned one by one.

Methods that ask a language model are expensive: they rank fewer jokes, for fewer readers, after fewer counts of
ratings. So every method is compared with SLOP on the same readers and jokes. Every option can be given in the
environment too. HUMOR_LANGUAGE_READERS=0 HUMOR_TUNED_READERS=0 leave the expensive methods out. With HUMOR_EARLIER,
the humor.json of an earlier run, their rows come from there, and say which basis they were compared with.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from client.catalogue import load_catalogue
from research import jokes, tables
from research.base_model import base_model
from research.folders import RESULTS
from research.metrics import CalibrationBin, Estimate, calibration, over_readers, pair_accuracy
from research.rankers import (
    SLOP,
    Crowd,
    EmbeddingRidge,
    MatrixFactorisation,
    Method,
    PromptTokens,
    ReaderModel,
    Slop,
    course,
)
from research.ratings import CLEAR_GAP, FULL_RATING, RatedJokes, Rater, chosen_raters, joke_post_id, load_ratings
from research.screen import options_of, options_or_advice, progress_on, run_study
from slop.basis import Basis
from slop.redis.posts import PostRef
from slop.rewards import RATE_WEIGHT
from slop.settings import LearningSettings
from slop.text_features import Components
from training.basis.distil import HeadOptions, components_of
from training.factors import Fit, FitOptions, Reactions
from training.factors.refit import features_of, refit

COUNTS: Final = (0, 1, 3, 5, 10, 20, 40)
LANGUAGE_COUNTS: Final = (5, 10, 20, 40)
TUNED_COUNTS: Final = (10, 40)
LANGUAGE_ASKED: Final = 20
AHEAD_COUNTS: Final = (5, 10, 20, 40)
UNSEEN: Final = 20
FEWEST_UNSEEN: Final = 8
COMPONENTS: Final = 64
TENANT: Final = "default"


class HumorSettings(BaseSettings):
    """Options of the study."""

    model_config = options_of("humor")

    data: Path = Field(
        validation_alias=AliasChoices("data", "DATA"), description="folder with jokes.json and ratings.csv.gz"
    )
    out: Path = Field(RESULTS, validation_alias=AliasChoices("out", "OUT"), description="folder of the results")
    readers: int = Field(500, ge=20, validation_alias=AliasChoices("readers", "READERS"), description="new readers")
    language_readers: int = Field(16, ge=0, description="of them, those whom a language model is told of in words")
    device: str = Field("", description="what the language models run on, for the results; empty: this machine's cores")
    tuned_readers: int = Field(6, ge=0, description="of them, those for whom an adapter is trained")
    earlier: Path | None = Field(None, description="humor.json of an earlier run, whose dear rows are kept")
    size: int = Field(FitOptions().size, ge=1, le=64, description="factors that readers differ in")
    seed: int = Field(0, ge=0, description="of the choice of readers, of everyone's order and of the unseen jokes")
    save_basis: Path | None = Field(None, description="also write the basis with factors of the known jokes here")


@dataclass(frozen=True, slots=True)
class Row:
    """One method's pair accuracy after n ratings.

    Attributes:
        jokes: which are ranked, known or unseen.
        method: whose order it is.
        n: ratings learned.
        accuracy: mean over readers.
        readers: how many.
        slop: SLOP's accuracy for the same readers and jokes.
        ahead: SLOP's accuracy less the method's, paired by reader.
    """

    jokes: str
    method: str
    n: int
    accuracy: Estimate
    readers: int
    slop: float
    ahead: Estimate


@dataclass(frozen=True, slots=True)
class Cost:
    """What a method costs for a reader.

    Attributes:
        method: which.
        stored_bytes: kept for the next request, mean over readers.
        microseconds: of CPU time to learn a rating, on all cores together; scoring is not in it.
        tokens: what the reader takes in a prompt, mean over readers.
    """

    method: str
    stored_bytes: int
    microseconds: float
    tokens: PromptTokens


@dataclass(frozen=True, slots=True)
class Results:
    """All figures; `fitted_readers` are the others whose reactions the methods were fitted to."""

    fitted_readers: int = 0
    rows: list[Row] = field(default_factory=list)
    costs: dict[str, Cost] = field(default_factory=dict)
    calibration: list[CalibrationBin] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Task:
    """New readers: the ratings to learn, in order, and those to rank."""

    name: str
    given: list[list[tuple[int, float]]]
    asked: list[dict[int, float]]

    def part(self, readers: int, asked: int) -> "Task":
        """The first `readers` readers, with `asked` jokes each to rank; both are in random order."""
        few = [dict(list(ratings.items())[:asked]) for ratings in self.asked[:readers]]
        return Task(self.name, self.given[:readers], few)


@dataclass(frozen=True, slots=True)
class Group:
    """Methods that are compared on the same readers and jokes.

    Attributes:
        methods: to compare.
        counts: of ratings, after which they rank.
        readers: how many at most.
        asked: jokes that are ranked for each, at most.
    """

    methods: Sequence[Method]
    counts: tuple[int, ...]
    readers: int
    asked: int


@dataclass(frozen=True, slots=True)
class Measured:
    """A method's accuracy for every reader by count, the readers in the same order for all methods, and its cost."""

    accuracy: dict[int, list[float]]
    cost: Cost


class Jokes:
    """The jokes as arrays; an index is a joke's place in the data."""

    def __init__(self, data: RatedJokes, text_features: npt.NDArray[np.float32]) -> None:
        self.index = {joke: place for place, joke in enumerate(data.jokes)}
        self.texts = list(data.jokes.values())
        self.keys = [PostRef(TENANT, joke_post_id(text)).key for text in self.texts]
        self.text_features = text_features

    def reactions(self, data: RatedJokes, readers: Sequence[str], known: npt.NDArray[np.intp]) -> Reactions:
        """What readers said of the known jokes, with those jokes alone."""
        place = {int(joke): number for number, joke in enumerate(known)}
        entries = [
            (reader, place[self.index[joke]], rating / FULL_RATING)
            for reader, user in enumerate(readers)
            for joke, rating in data.ratings[user].items()
            if self.index[joke] in place
        ]
        people, posts, values = zip(*entries, strict=True)
        return Reactions(
            readers=np.array(people, np.intp),
            posts=np.array(posts, np.intp),
            values=np.array(values),
            weights=np.full(len(entries), RATE_WEIGHT),
            keys=[self.keys[joke] for joke in known],
            text_features=self.text_features[known].astype(np.float64),
        )

    def rated(self, ratings: Iterable[tuple[str, float]]) -> list[tuple[int, float]]:
        """Ratings in [-1, 1] by joke, in the same order."""
        return [(self.index[joke], rating / FULL_RATING) for joke, rating in ratings]


def known_task(raters: Sequence[Rater], all_jokes: Jokes) -> Task:
    """Everybody's first 40 ratings are given, the rest is ranked."""
    asked = [dict(all_jokes.rated(rater.rest.items())) for rater in raters]
    return Task("known", [all_jokes.rated(rater.order) for rater in raters], asked)


def unseen_task(raters: Sequence[Rater], all_jokes: Jokes, unseen: frozenset[int]) -> Task:
    """Ratings of the unseen jokes are ranked; the first 40 of the others are given."""
    given, asked = [], []
    for rater in raters:
        everything = all_jokes.rated([*rater.order, *rater.rest.items()])
        judged = {joke: value for joke, value in everything if joke in unseen}
        if len(judged) >= FEWEST_UNSEEN:
            given.append([(joke, value) for joke, value in everything if joke not in unseen][: max(COUNTS)])
            asked.append(judged)
    return Task("unseen", given, asked)


def methods_for(
    basis: Basis, reactions: Reactions, all_jokes: Jokes, embedded: npt.NDArray[np.float32], size: int
) -> tuple[Slop, list[Method]]:
    """SLOP and the others, fitted to the other readers' reactions.

    For a joke that nobody rated, the method of mean ratings predicts the mean from the text, as the factors do.
    """
    options, settings = FitOptions(size=size), LearningSettings()
    fitted = refit(basis, reactions, settings.prior_of, options).basis
    every = Reactions(
        *(reactions.readers, reactions.posts, reactions.values, reactions.weights),
        keys=all_jokes.keys,
        text_features=all_jokes.text_features.astype(np.float64),
    )
    features = features_of(fitted, every)
    rows = features[:, basis.text_size :]
    fit = Fit(reactions, options)
    factors = fit.run()
    ours, means = Slop(fitted, settings.prior_of(fitted), features), rows[:, -1].astype(np.float64)
    lengths = all_jokes.text_features[:, basis.size].astype(np.float64)
    return ours, [
        ours,
        Slop(basis, settings.prior_of(basis), all_jokes.text_features, f"{SLOP} by text, no factors"),
        with_components(basis, all_jokes.text_features, embedded),
        Crowd(means),
        Crowd(np.sign(np.corrcoef(lengths, means)[0, 1]) * lengths, "length alone"),
        MatrixFactorisation(factors, rows, fit.noise, fit.bias_variance),
        EmbeddingRidge(embedded),
    ]


def with_components(basis: Basis, text_features: npt.NDArray[np.float32], embedded: npt.NDArray[np.float32]) -> Slop:
    """By text, with components of the (J, E) embeddings for ranking alone, as bases can have them."""
    components = catalogue_components()
    crowd = np.concatenate([basis.crowd_direction[: basis.size + 1], np.zeros(COMPONENTS, np.float32)])
    wider = replace(basis, components=components, crowd_direction=crowd, factors=None)
    features = np.hstack([text_features[:, : basis.size + 1], components.of_embeddings(embedded)])
    prior = LearningSettings().prior_of(wider)
    return Slop(wider, prior, features.astype(np.float32), f"{SLOP} by text, {COMPONENTS} components")


@cache
def catalogue_components() -> Components:
    """Of the catalogue's posts that bases are built from."""
    found = components_of(
        jokes.embeddings([post.text for post in load_catalogue().shown]), COMPONENTS, HeadOptions().share
    )
    assert found is not None  # noqa: S101
    return found


def measured(task: Task, method: Method, counts: Sequence[int], progress: Progress) -> Measured:
    """The accuracy of a method for a task's readers."""
    bar = progress.add_task(f"{task.name} jokes: {method.name}", total=len(task.given))
    found: dict[int, list[float]] = {count: [] for count in counts}
    spent, learned = 0.0, 0
    readers = []
    for given, asked in zip(task.given, task.asked, strict=True):
        reader = method.reader()
        way = course(given, reader, list(asked), counts)
        spent, learned = spent + way.learning_s, learned + len(given)
        readers.append(reader)
        for count, scores in way.scores.items():
            agreed = pair_accuracy(scores.tolist(), list(asked.values()), CLEAR_GAP / FULL_RATING)
            if agreed is not None:
                found[count].append(agreed)
        progress.advance(bar)
    return Measured(found, cost_of(method.name, readers, 1e6 * spent / learned))


def cost_of(name: str, readers: Sequence[ReaderModel], microseconds: float) -> Cost:
    """A method's cost, of readers who have learned all their ratings."""
    stored, ranking, writing = (
        round(fmean(sizes))
        for sizes in zip(*((reader.stored_bytes, *reader.tokens) for reader in readers), strict=True)
    )
    return Cost(name, stored, microseconds, PromptTokens(ranking, writing))


def compared(task: Task, method: str, theirs: Measured, ours: Measured) -> list[Row]:
    """A method's rows beside SLOP's on the same task."""
    rows = []
    for n, values in theirs.accuracy.items():
        if values:
            ahead = [a - b for a, b in zip(ours.accuracy[n], values, strict=True)]
            slop = fmean(ours.accuracy[n])
            rows.append(Row(task.name, method, n, over_readers(values), len(values), slop, over_readers(ahead)))
    return rows


def add_group(results: Results, task: Task, ours: Slop, group: Group, progress: Progress) -> None:
    """Measure methods beside SLOP on the readers and jokes that they are dealt."""
    dealt = task.part(group.readers, group.asked)
    reference = measured(dealt, ours, group.counts, progress)
    for method in group.methods:
        found = reference if method is ours else measured(dealt, method, group.counts, progress)
        results.rows.extend(compared(dealt, method.name, found, reference))
        results.costs.setdefault(method.name, found.cost)


HISTORY: Final = "history in the prompt"
PERSONA: Final = "persona prompt"
DEAR: Final = (HISTORY, PERSONA, "prompt tuning", "LoRA")
"""How the names of methods begin that a language model ranks by, none of which stands on features."""


def language_groups(settings: HumorSettings, basis: Basis, texts: Sequence[str]) -> list[Group]:
    """The methods that ask a language model, if there are readers for them."""
    if not settings.language_readers + settings.tuned_readers:
        return []
    from research import language_rankers as language

    frozen = language.FrozenModel.load(str(base_model(basis)), basis.template, texts)
    words, seed = {HISTORY: language.as_history, PERSONA: language.as_persona}, settings.seed
    told = [language.InWords(name, frozen, tell, LANGUAGE_COUNTS) for name, tell in words.items()]
    tunings = (language.prompt_tuning(frozen, basis.prompts.shape[1]), language.lora())
    tuned = [language.Tuned(frozen, tuning, TUNED_COUNTS, seed) for tuning in tunings]
    groups = (
        Group(told, LANGUAGE_COUNTS, settings.language_readers, LANGUAGE_ASKED),
        Group(tuned, TUNED_COUNTS, settings.tuned_readers, LANGUAGE_ASKED),
    )
    return [group for group in groups if group.readers]


def calibrated(task: Task, method: Slop) -> list[CalibrationBin]:
    """Predicted probabilities of a like before each rating is learned, against the rating as a label in [0, 1]."""
    predicted, observed = [], []
    for given in task.given:
        reader = method.reader()
        for joke, value in given:
            reader.learn(joke, value)
        predicted += reader.predicted
        observed += [(1 + value) / 2 for _, value in given]
    return calibration(predicted, observed)


def study(settings: HumorSettings, console: Console) -> Results:
    """All figures.

    Raises:
        UserError: the data is missing or broken.
        training.factors.refit.RefitRefused: the factors rank no better than the text features.
    """
    data = load_ratings(settings.data)
    rng = np.random.default_rng(settings.seed)
    chosen = chosen_raters(data, settings.readers, max(COUNTS), rng)
    others = [user for user in data.ratings if user not in chosen]
    basis = Basis.load(LearningSettings().basis_dir)
    with progress_on(console) as progress:
        all_jokes = Jokes(data, jokes.text_features(basis, list(data.jokes.values()), progress))
        embedded = jokes.embeddings(all_jokes.texts)
        everything = np.arange(len(all_jokes.texts))
        unseen = frozenset(rng.permutation(everything)[:UNSEEN].tolist())
        rest = np.array([joke for joke in everything if joke not in unseen])
        raters = list(chosen.values())
        dear = language_groups(settings, basis, all_jokes.texts)
        results = Results(fitted_readers=len(others))
        tasks = (known_task(raters, all_jokes), everything), (unseen_task(raters, all_jokes, unseen), rest)
        for task, known in tasks:
            reactions = all_jokes.reactions(data, others, known)
            ours, methods = methods_for(basis, reactions, all_jokes, embedded, settings.size)
            everybody = Group(methods, COUNTS, len(raters), len(everything))
            for group in (everybody, *dear):
                add_group(results, task, ours, group, progress)
            if task.name == "known":
                results.calibration.extend(calibrated(task, ours))
                if settings.save_basis:
                    ours.basis.save(settings.save_basis)
    return results


def table_of(rows: Sequence[Row], name: str, costs: Mapping[str, Cost]) -> Table:
    """The figures of known or of unseen jokes."""
    costly = ("bytes a reader", "µs a rating", "x SLOP's", "tokens to rank", "to write")
    table = _table(f"Pair accuracy, {name} jokes", ("readers", *map("n = {}".format, COUNTS), *costly))
    for method, cost in costs.items():
        of_method = [row for row in rows if (row.jokes, row.method) == (name, method)]
        cells = {row.n: f"{row.accuracy.mean:.3f}" for row in of_method}
        figures = [cells.get(count, "") for count in COUNTS]
        times = cost.microseconds / costs[SLOP].microseconds
        spent = (f"{cost.stored_bytes:,}", f"{cost.microseconds:,.0f}", f"{times:,.1f}", *map(str, cost.tokens))
        table.add_row(method, str(max((row.readers for row in of_method), default=0)), *figures, *spent)
    return table


def ahead_table(rows: Sequence[Row], name: str) -> Table:
    """How far SLOP is ahead of the others, by reader."""
    table = _table(
        f"SLOP's pair accuracy less the method's, same readers and {name} jokes", map("n = {}".format, AHEAD_COUNTS)
    )
    others = dict.fromkeys(row.method for row in rows if row.method != SLOP)
    for method in others:
        found = {row.n: row.ahead for row in rows if (row.jokes, row.method) == (name, method)}
        figures = [
            f"{a.mean:+.3f} [dim]{a.low:+.3f} to {a.high:+.3f}[/]" if (a := found.get(n)) else "" for n in AHEAD_COUNTS
        ]
        table.add_row(method, *figures)
    return table


def _table(title: str, columns: Iterable[str]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("method")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def flat_rows(results: Results) -> list[tables.Row]:
    """The rows as the files have them."""
    slop = results.costs[SLOP].microseconds
    return [_flat(row, results.costs[row.method], slop) for row in results.rows]


def _flat(row: Row, cost: Cost, slop_microseconds: float) -> tables.Row:
    return {
        "jokes": row.jokes,
        "method": row.method,
        "n": row.n,
        "accuracy": round(row.accuracy.mean, 4),
        "low": round(row.accuracy.low, 4),
        "high": round(row.accuracy.high, 4),
        "readers": row.readers,
        "slop_same_readers": round(row.slop, 4),
        "slop_ahead": round(row.ahead.mean, 4),
        "ahead_low": round(row.ahead.low, 4),
        "ahead_high": round(row.ahead.high, 4),
        "bytes_a_reader": cost.stored_bytes,
        "microseconds_a_rating": round(cost.microseconds, 1),
        "times_slops": round(cost.microseconds / slop_microseconds, 2),
        "tokens_to_rank": cost.tokens.ranking,
        "tokens_to_write": cost.tokens.writing,
    }


def save(folder: Path, results: Results, about: dict[str, Any], earlier: Path | None) -> None:
    """Write humor.csv, humor.md, humor.json and humor.png, with the dear rows of an earlier run if this one has none.

    Raises:
        UserError: the file of the earlier run is not such a one.
    """
    kept = tables.Earlier(earlier, ("jokes", "method", "n"), _is_dear) if earlier else None
    rows = tables.joined(flat_rows(results), about, ("basis", "device"), kept)
    calibration = [asdict(part) for part in results.calibration]
    tables.save(folder, "humor", rows, {"calibration": calibration, **about}, tables.markdown(rows))
    save_plot(folder / "humor.png", rows)


def _is_dear(row: tables.Row) -> bool:
    return str(row["method"]).startswith(DEAR)


def save_plot(path: Path, rows: Sequence[tables.Row]) -> None:
    """A PNG of the accuracy by number of ratings, known jokes beside unseen ones."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained", sharey=True)
    for axes, name in zip(panels, ("known", "unseen"), strict=True):
        for method in dict.fromkeys(row["method"] for row in rows):
            line = [row for row in rows if (row["jokes"], row["method"]) == (name, method)]
            counts, middles, *ends = ([row[of] for row in line] for of in ("n", "accuracy", "low", "high"))
            axes.plot(counts, middles, marker="o", lw=2, label=method)
            axes.fill_between(counts, *ends, alpha=0.15, lw=0)
        axes.set_xscale("symlog", base=2, linthresh=1)
        axes.set_xticks(COUNTS, [str(count) for count in COUNTS])
        axes.minorticks_off()
        axes.set(title=f"{name} jokes", xlabel="ratings learned", ylabel="pair accuracy within a reader")
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def calibration_table(bins: Sequence[CalibrationBin]) -> Table:
    """Predicted beside observed."""
    table = Table(title="SLOP's prediction of each rating before it is learned, in tenths", title_justify="left")
    for column in ("predicted", "observed", "ratings"):
        table.add_column(column, justify="right")
    for part in bins:
        table.add_row(f"{part.predicted:.3f}", f"{part.observed:.3f}", str(part.count))
    return table


def humor(settings: HumorSettings, console: Console) -> None:
    """Run the study, print the tables and write the files."""
    results = study(settings, console)
    for name in ("known", "unseen"):
        console.print(table_of(results.rows, name, results.costs))
        console.print(ahead_table(results.rows, name))
    console.print(calibration_table(results.calibration))
    basis = Basis.load(LearningSettings().basis_dir).version
    about = {
        "seed": settings.seed,
        "factors": settings.size,
        "basis": basis,
        "fitted_readers": results.fitted_readers,
        "most_asked_of_a_model": LANGUAGE_ASKED,
        "device": settings.device or f"{len(os.sched_getaffinity(0))} CPU cores",
    }
    save(settings.out, results, about, settings.earlier)
    console.print(f"Results: {settings.out}/humor.csv, .md, .json and .png")


def main() -> int:
    """The command line; returns the exit status."""
    advice = "DATA=folder with jokes.json and ratings.csv.gz"
    return run_study(lambda console: humor(options_or_advice(HumorSettings, advice), console))


if __name__ == "__main__":
    raise SystemExit(main())
