"""How well new readers' jokes are ranked after a few of their ratings, for jokes that others rated and for new ones.

    DATA=folder python -m studies.humor [--readers 500] [--out studies/results]

The folder is the replay's: jokes.json and ratings.csv.gz. Most readers' ratings fit the factors, exactly as
`trainer.factors` fits them to the log; the others are new, and their ratings are learned one by one.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from slop.basis import Basis
from slop.rewards import RATE_WEIGHT
from slop.settings import LearningSettings
from slop.storage import PostRef
from studies import jokes, tables
from studies.metrics import CalibrationBin, Estimate, calibration, over_readers, pair_accuracy
from studies.rankers import Crowd, EmbeddingRidge, MatrixFactorisation, Method, Slop, orders
from studies.ratings import CLEAR_GAP, FULL_RATING, RatedJokes, Rater, chosen_raters, joke_post_id, load_ratings
from studies.report import save_json
from studies.screen import options_or_advice, progress_on, run_study
from trainer.factors import Fit, FitOptions, Reactions
from trainer.factors.refit import features_of, refit

COUNTS: Final = (0, 1, 3, 5, 10, 20, 40)
UNSEEN: Final = 20
FEWEST_UNSEEN: Final = 8
TENANT: Final = "default"
RESULTS: Final = Path(__file__).parent / "results"


class HumorSettings(BaseSettings):
    """Options of the study."""

    model_config = SettingsConfigDict(
        env_prefix="HUMOR_",
        env_ignore_empty=True,
        extra="ignore",
        cli_parse_args=True,
        cli_kebab_case=True,
        cli_prog_name="python -m studies.humor",
        populate_by_name=True,
    )

    data: Path = Field(
        validation_alias=AliasChoices("data", "DATA"), description="folder with jokes.json and ratings.csv.gz"
    )
    out: Path = Field(RESULTS, validation_alias=AliasChoices("out", "OUT"), description="folder of the results")
    readers: int = Field(500, ge=20, validation_alias=AliasChoices("readers", "READERS"), description="new readers")
    size: int = Field(FitOptions().size, ge=1, le=64, description="factors that readers differ in")
    seed: int = Field(0, ge=0, description="of the choice of readers, of everyone's order and of the unseen jokes")
    save_basis: Path | None = Field(None, description="also write the basis with factors of the known jokes here")


@dataclass(frozen=True, slots=True)
class Row:
    """One method's pair accuracy after n ratings."""

    jokes: str
    method: str
    n: int
    accuracy: Estimate
    readers: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What a method keeps of a reader, and what a rating costs to learn."""

    method: str
    stored_bytes: int
    microseconds: float


@dataclass(frozen=True, slots=True)
class Results:
    """All figures."""

    rows: list[Row]
    costs: dict[str, Cost]
    calibration: list[CalibrationBin]


@dataclass(frozen=True, slots=True)
class Task:
    """New readers: the ratings that they give, in order, and those that are to be ranked."""

    name: str
    given: list[list[tuple[int, float]]]
    asked: list[dict[int, float]]


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
) -> tuple[Slop, Crowd, MatrixFactorisation, EmbeddingRidge]:
    """All methods, fitted to the other readers' reactions."""
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
    return (
        Slop(fitted, settings.prior_of(fitted), features),
        Crowd(rows[:, -1].astype(np.float64)),
        MatrixFactorisation(factors, rows, fit.noise, fit.bias_variance),
        EmbeddingRidge(embedded),
    )


def compared(task: Task, method: Method, progress: Progress) -> tuple[list[Row], Cost]:
    """A method's rows, and its cost."""
    bar = progress.add_task(f"{task.name} jokes: {method.name}", total=len(task.given))
    found: dict[int, list[float]] = {count: [] for count in COUNTS}
    spent, learned, stored = 0.0, 0, 0
    for given, asked in zip(task.given, task.asked, strict=True):
        reader, started = method.reader(), time.process_time()
        scores = orders(given, reader, COUNTS)
        spent, learned, stored = spent + time.process_time() - started, learned + len(given), reader.stored_bytes
        listed = list(asked)
        for count, of_jokes in scores.items():
            truth = [asked[joke] for joke in listed]
            agreed = pair_accuracy(of_jokes[listed].tolist(), truth, CLEAR_GAP / FULL_RATING)
            if agreed is not None:
                found[count].append(agreed)
        progress.advance(bar)
    rows = [Row(task.name, method.name, n, over_readers(values), len(values)) for n, values in found.items() if values]
    return rows, Cost(method.name, stored, 1e6 * spent / learned)


def calibrated(task: Task, method: Slop) -> list[CalibrationBin]:
    """How often readers like what they are predicted to like, over all ratings before each was learned."""
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
        StudyError: the data is missing or broken.
        trainer.factors.refit.RefitRefused: the factors rank no better than the text features.
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
        results = Results([], {}, [])
        tasks = (known_task(raters, all_jokes), everything), (unseen_task(raters, all_jokes, unseen), rest)
        for task, known in tasks:
            reactions = all_jokes.reactions(data, others, known)
            ours, crowd, factorised, ridge = methods_for(basis, reactions, all_jokes, embedded, settings.size)
            methods: list[Method] = [ours, crowd, factorised, ridge]
            for method in methods:
                more, cost = compared(task, method, progress)
                results.rows.extend(more)
                results.costs.setdefault(method.name, cost)
            if task.name == "known":
                results.calibration.extend(calibrated(task, ours))
                if settings.save_basis:
                    ours.basis.save(settings.save_basis)
    return results


def table_of(rows: Sequence[Row], name: str, costs: Mapping[str, Cost]) -> Table:
    """The figures of known or of unseen jokes."""
    table = Table(title=f"Pair accuracy, {name} jokes", title_justify="left")
    columns = ["method", *(f"n = {count}" for count in COUNTS), "bytes a reader", "µs a rating"]
    for column in columns:
        table.add_column(column, justify="left" if column == "method" else "right")
    for method, cost in costs.items():
        cells = {row.n: f"{row.accuracy.mean:.3f}" for row in rows if (row.jokes, row.method) == (name, method)}
        figures = [cells.get(count, "") for count in COUNTS]
        table.add_row(method, *figures, str(cost.stored_bytes), f"{cost.microseconds:.0f}")
    return table


def save(folder: Path, results: Results, about: dict[str, Any]) -> None:
    """Write humor.csv, humor.md, humor.json and humor.png."""
    flat: list[tables.Row] = [
        {
            "jokes": row.jokes,
            "method": row.method,
            "n": row.n,
            "accuracy": round(row.accuracy.mean, 4),
            "low": round(row.accuracy.low, 4),
            "high": round(row.accuracy.high, 4),
            "readers": row.readers,
            "bytes_a_reader": results.costs[row.method].stored_bytes,
            "microseconds_a_rating": round(results.costs[row.method].microseconds, 1),
        }
        for row in results.rows
    ]
    tables.save_csv(folder / "humor.csv", flat)
    (folder / "humor.md").write_text(tables.markdown(flat))
    save_json(
        folder / "humor.json", {"rows": flat, "calibration": [asdict(part) for part in results.calibration], **about}
    )
    save_plot(folder / "humor.png", results.rows)


def save_plot(path: Path, rows: Sequence[Row]) -> None:
    """A PNG of the accuracy by number of ratings, known jokes beside unseen ones."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained", sharey=True)
    for axes, name in zip(panels, ("known", "unseen"), strict=True):
        for method in dict.fromkeys(row.method for row in rows):
            line = [row for row in rows if (row.jokes, row.method) == (name, method)]
            counts = [row.n for row in line]
            axes.plot(counts, [row.accuracy.mean for row in line], marker="o", lw=2, label=method)
            axes.fill_between(counts, [r.accuracy.low for r in line], [r.accuracy.high for r in line], alpha=0.15, lw=0)
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
    console.print(calibration_table(results.calibration))
    basis = Basis.load(LearningSettings().basis_dir).version
    about = {"seed": settings.seed, "factors": settings.size, "basis": basis}
    save(settings.out, results, about)
    console.print(f"Results: {settings.out}/humor.csv, .md, .json and .png")


def main() -> int:
    """The command line; returns the exit status."""
    advice = "DATA=folder with jokes.json and ratings.csv.gz"
    return run_study(lambda console: humor(options_or_advice(HumorSettings, advice), console))


if __name__ == "__main__":
    raise SystemExit(main())
