"""Readers with hidden tastes react to posts, and the posts written for them turn to those tastes.

    python -m research.demo [--readers 8] [--seed 0] [--out figures.json]

It uses the stack that runs, or starts one, and speaks to it through its REST API alone. Every option can be given in
the environment too: OUT, DEMO_EXIT=1 (stop at the end), DEMO_READERS, DEMO_SEED and so on.
"""

import asyncio
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings
from rich.console import Console

from client.catalogue import LabelledCatalogue, by_label, load_catalogue
from client.readers import deal_feeds, deal_readers
from client.texts import Sampling
from infra.local.up import LocalStack, running_stack
from research import report, tables
from research.closed_loop import CLOSER, Amounts, ClosedLoop, LoopOutcome, Person
from research.detectors import Classifier, accuracy, detected
from research.figures import Figures, Scorer, figures_of, held_out_of_tastes, sampled_texts
from research.metrics import latency
from research.screen import options_of, progress_on, run_study
from research.stack import connected

COUNTS: Final = (0, 4, 16, 32)
JUDGED_AT: Final = 16


class DemoSettings(BaseSettings):
    """Options of the demo."""

    model_config = options_of("demo")

    out: Path | None = Field(None, validation_alias=AliasChoices("out", "OUT"), description="also write JSON here")
    plot: Path = Field(Path("out/demo.png"), description="where the PNG goes")
    exit: bool = Field(False, description="stop at the end instead of leaving the stack running")
    seed: int = Field(0, ge=0, description="of the readers, their feeds and their reactions")

    readers: int = Field(8, ge=2, le=200, description="simulated readers")
    posts: int = Field(
        2, ge=1, le=8, description=f"posts that each reader asks for, {CLOSER} times as many at {JUDGED_AT}"
    )
    history_posts: int = Field(1, ge=1, le=8, description="the same for history in the prompt")
    scored: int = Field(
        1,
        ge=1,
        le=8,
        description=f"of these, posts whose perplexity is taken; of SLOP's at {JUDGED_AT} {CLOSER} times as many",
    )
    noise: float = Field(0.1, ge=0, lt=0.5, description="share of reactions that are the wrong way round")
    exposure: float = Field(0.375, ge=0, le=1, description="share of the shown posts from the reader's own classes")
    freshness: int = Field(20, ge=20, description="single interactions that freshness is measured on")

    temperature: float = Field(0.8, ge=0, le=2, description="of every arm")
    max_tokens: int = Field(48, ge=8, le=512, description="of every post of every arm")
    min_p: float = Field(
        0.05,
        ge=0,
        le=1,
        validation_alias=AliasChoices("min_p", "SLOP_GENERATION_MIN_P", "SLOP_MIN_P"),
        description="generation's setting, which history in the prompt is drawn with too",
    )
    concurrency: int = Field(12, ge=1, description="requests at a time")


@dataclass(frozen=True, slots=True)
class Results:
    """All that is shown."""

    people: list[Person]
    outcome: LoopOutcome
    figures: Figures
    model: str


def people_of(settings: DemoSettings, catalogue: LabelledCatalogue, run: str) -> list[Person]:
    """The readers with everything they will do; the same for a seed, but for the run in their ids."""
    rng = np.random.default_rng(settings.seed)
    posts = by_label(catalogue.shown)
    readers = deal_readers(sorted(posts), settings.readers, run, rng)
    feeds = deal_feeds(readers, posts, max(COUNTS), settings.exposure, rng)
    return [
        Person(reader, [reader.react(post, settings.noise, rng) for post in feed])
        for reader, feed in zip(readers, feeds, strict=True)
    ]


async def study(
    settings: DemoSettings, running: LocalStack, catalogue: LabelledCatalogue, classifier: Classifier, console: Console
) -> Results:
    """Run the closed loop on a running stack and take all figures."""
    people = people_of(settings, catalogue, uuid.uuid4().hex[:6])
    amounts = Amounts(COUNTS, settings.posts, settings.history_posts, JUDGED_AT, settings.freshness)
    sampling = Sampling(settings.temperature, settings.max_tokens, settings.min_p)
    held_out = held_out_of_tastes([person.reader for person in people], catalogue.held_out, a_taste=2)
    async with connected(running, settings.concurrency) as stack:
        with progress_on(console) as progress:
            outcome = await ClosedLoop(stack, people, amounts, sampling, progress).run()
            scorer = await Scorer.of(
                stack.engine, [*sampled_texts(outcome, settings.scored, JUDGED_AT), *held_out], progress
            )
            task = progress.add_task("figures", total=1)
            figures = figures_of(people, outcome, (classifier, detected), scorer, held_out)
            progress.advance(task)
        return Results(people, outcome, figures, stack.engine.model)


def legend(settings: DemoSettings, results: Results, seen: float) -> str:
    """What a person needs to know to read the tables."""
    figures = results.figures
    return (
        f"{settings.readers} readers with one or two hidden tastes: {settings.exposure:.0%} of what they see is of "
        f"these, {settings.noise:.0%} of reactions are wrong. {settings.posts} posts a reader and count, "
        f"{CLOSER} times as many after {JUDGED_AT} and without a profile (control). "
        "History: six liked posts as chat turns, same sampling.\n"
        f"Shares are by a classifier trained on held-out posts ({seen:.0%} right on the catalogue's others), with 95% "
        "intervals over readers, and by keyword and surface detectors (SLOP, control, history).\n"
        f"Perplexity is under the plain model, of {settings.scored} posts a reader and count "
        f"({CLOSER} times as many of SLOP's after {JUDGED_AT} and of control's), each by itself: "
        f"control {figures.control_perplexity:.1f}, held-out catalogue posts of "
        f"the same tastes {figures.held_out_perplexity:.1f}. Distinct-2 of control: {figures.control_distinct2:.2f}."
    )


def show(console: Console, settings: DemoSettings, results: Results, seen: float) -> None:
    """Print everything and write the files."""
    figures, fresh = results.figures, latency(results.outcome.freshness_s)
    report.show_people(console, results.people, results.outcome)
    console.print(report.taste_table(figures.rows))
    console.print(report.text_table(figures.rows))
    console.print(legend(settings, results, seen), style="dim", highlight=False)
    console.print(
        f"Freshness, from 202 to the answer of the first generation that uses the interaction: median "
        f"{fresh.p50:.0f} ms, p95 {fresh.p95:.0f} ms ({settings.freshness} interactions one by one, features ready)"
    )
    report.save_plot(settings.plot, figures.rows, f"{settings.readers} simulated readers, bands: 95% over readers")
    console.print(f"Plot: {settings.plot}")
    if settings.out:
        options = settings.model_dump(
            include={"readers", "posts", "history_posts", "scored", "noise", "exposure", "temperature", "max_tokens"}
        )
        about: dict[str, Any] = {"seed": settings.seed, "model": results.model, "settings": options}
        tables.save_json(settings.out, report.as_json(figures, fresh, about | {"classifier_accuracy": round(seen, 4)}))
        console.print(f"Figures: {settings.out}")


def invite(console: Console, stack: LocalStack, user_id: str) -> None:
    """Say what to try next."""
    console.print(
        f"\nThe stack is running: {stack.generation_url}/docs and {stack.collector_url}/docs. Try next:\n"
        f"  curl -s {stack.generation_url}/v1/users/{user_id}/profile\n"
        f"  curl -s {stack.generation_url}/v1/generate -H 'Content-Type: application/json' "
        f'-d \'{{"user_id": "{user_id}", "n": 3}}\'',
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    if stack.started_here:
        console.print("Ctrl-C stops it.")
        with suppress(KeyboardInterrupt):
            stack.wait()


def demonstrate(settings: DemoSettings, console: Console) -> None:
    """The whole demonstration.

    Raises:
        UserError, StackFailed, MissingBinary: it can't go on; the message says why.
    """
    start = time.monotonic()
    catalogue = load_catalogue()
    classifier = Classifier.trained_on(catalogue.held_out)
    seen = accuracy(classifier, catalogue.shown)
    with running_stack() as stack:
        results = asyncio.run(study(settings, stack, catalogue, classifier, console))
        show(console, settings, results, seen)
        console.print(f"Done in {time.monotonic() - start:.0f} s.")
        if not settings.exit:
            invite(console, stack, results.people[0].user_id)


def main() -> int:
    """The command line; returns the exit status."""
    return run_study(lambda console: demonstrate(DemoSettings(), console))


if __name__ == "__main__":
    raise SystemExit(main())
