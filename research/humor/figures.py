"""From methods and tasks to the figures: accuracy by count of ratings, costs, calibration."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from rich.progress import Progress

from research.humor.methods import Group
from research.humor.tasks import Task
from research.metrics import CalibrationBin, Estimate, calibration, over_readers, pair_accuracy
from research.rankers import (
    Method,
    PromptTokens,
    ReaderModel,
    Slop,
    course,
)
from research.ratings import CLEAR_GAP, FULL_RATING


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
class Measured:
    """A method's accuracy for every reader by count, the readers in the same order for all methods, and its cost."""

    accuracy: dict[int, list[float]]
    cost: Cost


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
