"""Replay real people's ratings through the REST API and see how well the rest of their ratings is ordered.

    DATA=folder python -m research.replay [--readers 200] [--out figures.json]

The folder has jokes.json ({id: text}) and ratings.csv.gz (user_id,joke_id,rating from -10 to 10). Of every person the
first 5, 10, 20 and 40 ratings are sent as interactions; at each of these counts the same remaining jokes are ranked.
"""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from client.errors import UserError
from client.readers import treated
from client.rest import Event
from infra.local import up
from infra.local.up import running_stack
from research.metrics import Estimate, over_readers
from research.ratings import FULL_RATING, RatedJokes, Rater, chosen_raters, crowd_means, joke_post_id, load_ratings
from research.screen import options_of, options_or_advice, progress_on, run_study
from research.stack import StudyStack, connected
from research.tables import save_json

COUNTS: Final = (5, 10, 20, 40)
T = TypeVar("T")


class ReplaySettings(BaseSettings):
    """Options of the replay."""

    model_config = options_of("replay")

    data: Path = Field(
        validation_alias=AliasChoices("data", "DATA"), description="folder with jokes.json and ratings.csv.gz"
    )
    out: Path | None = Field(None, validation_alias=AliasChoices("out", "OUT"), description="also write JSON here")
    readers: int = Field(200, ge=2, validation_alias=AliasChoices("readers", "READERS"), description="people at most")
    seed: int = Field(0, ge=0, description="of the choice of people and of everyone's order")
    concurrency: int = Field(16, ge=1, description="requests at a time")


@dataclass(frozen=True, slots=True)
class Row:
    """Pair accuracy after n ratings."""

    n: int
    accuracy: Estimate
    readers: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """The system by number of ratings, and the crowd's mean on the same pairs."""

    rows: list[Row]
    crowd: Estimate


class Replay:
    """One run of the replay on a running stack; `run` goes into the user ids, so that runs do not mix."""

    def __init__(
        self, stack: StudyStack, jokes: Mapping[str, str], raters: Mapping[str, Rater], run: str, progress: Progress
    ) -> None:
        self._stack, self._progress = stack, progress
        self._raters = {treated(f"rater-{run}-{user}"): rater for user, rater in raters.items()}
        self._post_ids = {joke: joke_post_id(text) for joke, text in jokes.items()}
        self._texts = {self._post_ids[joke]: text for joke, text in jokes.items()}

    async def rows(self) -> list[Row]:
        """Register the jokes, then send and rank in turn.

        Raises:
            UserError: the stack stopped answering.
        """
        await self._stack.register(self._texts, self._progress)
        rows, sent = [], 0
        for count in COUNTS:
            await self._learn(sent, count)
            rows.append(Row(count, *await self._agreement(count)))
            sent = count
        return rows

    async def _learn(self, start: int, stop: int) -> None:
        task = self._progress.add_task(f"learning ratings {start + 1} to {stop}", total=None)
        events = [
            Event(user, self._post_ids[joke], "rate", rating / FULL_RATING)
            for user, rater in self._raters.items()
            for joke, rating in rater.order[start:stop]
        ]
        await self._stack.collector.send_events(events)
        await self._stack.until_learned(dict.fromkeys(self._raters, stop))
        self._progress.update(task, total=len(events), completed=len(events))

    async def _agreement(self, count: int) -> tuple[Estimate, int]:
        task = self._progress.add_task(f"ranking after {count}", total=len(self._raters))

        async def one(user: str, rater: Rater) -> float | None:
            listed = list(rater.rest)
            scores = await self._stack.generation.rank(user, [self._post_ids[joke] for joke in listed])
            self._progress.advance(task)
            return rater.agreement(dict(zip(listed, map(_known, scores), strict=True)))

        return mean_of(await asyncio.gather(*(one(user, rater) for user, rater in self._raters.items())))


def _known(score: float | None) -> float:
    if score is None:
        raise UserError("a joke that had its features lost them: was Redis emptied during the replay?")
    return score


def mean_of(accuracies: Sequence[float | None]) -> tuple[Estimate, int]:
    """Mean over the people who have a pair to judge, and how many they are.

    Raises:
        UserError: nobody has one.
    """
    known = [accuracy for accuracy in accuracies if accuracy is not None]
    if not known:
        raise UserError("nobody has two jokes left whose ratings differ clearly")
    return over_readers(known), len(known)


def crowd_agreement(data: RatedJokes, raters: Mapping[str, Rater]) -> Estimate:
    """Pair accuracy of every joke's mean rating by people who are not replayed."""
    means = crowd_means(data, raters)
    return mean_of([rater.agreement(means) for rater in raters.values()])[0]


async def compare(settings: ReplaySettings, data: RatedJokes, running: up.LocalStack, console: Console) -> Comparison:
    """Replay on a running stack, beside the crowd."""
    raters = chosen_raters(data, settings.readers, max(COUNTS), np.random.default_rng(settings.seed))
    async with connected(running, settings.concurrency) as stack:
        with progress_on(console) as progress:
            rows = await Replay(stack, data.jokes, raters, uuid.uuid4().hex[:6], progress).rows()
    return Comparison(rows, crowd_agreement(data, raters))


def table_of(comparison: Comparison) -> Table:
    """The figures by number of ratings."""
    crowd = comparison.crowd
    table = Table(
        "ratings",
        "pair accuracy [95%]",
        "beside the crowd's mean",
        "people",
        title="Order of the jokes that were not sent, within each person",
        caption=f"Pairs that differ by 2 or more; chance .500, the crowd's mean {_cell(crowd)} on the same pairs.",
    )
    for row in comparison.rows:
        difference = row.accuracy.mean - crowd.mean
        table.add_row(str(row.n), _cell(row.accuracy), f"{difference:+.3f}", str(row.readers))
    return table


def _cell(estimate: Estimate) -> str:
    return f"{estimate.mean:.3f} ({estimate.low:.3f}-{estimate.high:.3f})"


def as_json(comparison: Comparison, settings: ReplaySettings) -> dict[str, Any]:
    """The figures for machines."""
    rows = [
        {"n": r.n, "accuracy": round(r.accuracy.mean, 4), "interval": r.accuracy.interval, "readers": r.readers}
        for r in comparison.rows
    ]
    crowd = comparison.crowd
    return {"rows": rows, "crowd": round(crowd.mean, 4), "crowd_interval": crowd.interval, "seed": settings.seed}


def replay(settings: ReplaySettings, console: Console) -> None:
    """Replay, print the table and write the JSON.

    Raises:
        UserError, StackFailed, MissingBinary: it can't go on; the message says why.
    """
    data = load_ratings(settings.data)
    with running_stack() as running:
        comparison = asyncio.run(compare(settings, data, running, console))
    console.print(table_of(comparison))
    if settings.out:
        save_json(settings.out, as_json(comparison, settings))
        console.print(f"Figures: {settings.out}")


def main() -> int:
    """The command line; returns the exit status."""
    advice = "make replay DATA=folder, a folder with jokes.json and ratings.csv.gz"
    return run_study(lambda console: replay(options_or_advice(ReplaySettings, advice), console))


if __name__ == "__main__":
    raise SystemExit(main())
