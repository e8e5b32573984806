"""`python -m loadtests.run` (`make loadtest`): load a running stack for a bounded time, without a browser.

Afterwards it measures how long the last reactions take to be learned, and what the engine writes when it works alone.

    READERS=20 SECONDS=60 SCENARIO=readers OUT=figures.json python -m loadtests.run

Ends with 1 if anything failed; 429 and 503 with Retry-After are documented outcomes and counted apart.
"""

import locust  # noqa: I001  # first, since it replaces parts of the standard library

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import gevent
from locust import User
from locust.env import Environment
from locust.runners import LocalRunner
from pydantic import ValidationError
from rich.console import Console

from loadtests.engine import Alone, EngineUnderTest, Written, plan_readers, warm_of
from loadtests.engine_alone import Steps
from loadtests.facts import Watch, between
from loadtests.feed import NotRegistered, register
from loadtests.ingestion import Ingestion
from loadtests.last import learned_within
from loadtests.outcome import LoadOutcome, calls_of, in_words, table_of
from loadtests.reading import HABITS, Reading
from loadtests.settings import RunSettings, Scenario, WrongSettings
from loadtests.settings import in_words as wrong_settings
from client.console import console_for_tables

SPAWN_S: Final = 5.0
PROGRESS_S: Final = 10.0

USERS: Final[dict[Scenario, list[type[User]]]] = {
    "readers": [Reading],
    "ingestion": [Ingestion],
    "mixed": [Reading, Ingestion],
}


def load(settings: RunSettings, console: Console) -> LoadOutcome:
    """Register posts, run the scenario, and return the results.

    Raises:
        NotRegistered: the collector does not take posts.
    """
    console.print(f"{register(settings)} catalogue posts registered")
    watch, engine = Watch(settings), EngineUnderTest(settings)
    before, begun = watch.look(), engine.written()
    environment = Environment(user_classes=USERS[settings.scenario], events=locust.events)
    environment.stop_timeout = settings.load_timeout_s
    started = time.monotonic()
    with _running(environment, settings) as runner:
        gevent.sleep(warm_of(settings.seconds))
        written = engine.written()
        _follow(environment, runner, started, started + settings.seconds, console)
        rate = _per_second(written, engine.written())
    seconds = time.monotonic() - started
    learned_within_s = learned_within(settings, HABITS.users)
    watch.settle()
    readers = plan_readers(HABITS.traces, _tokens(begun, engine.written()))
    alone = _engine_alone(engine, readers, settings, console)
    return LoadOutcome(
        settings.scenario,
        settings.readers,
        seconds,
        calls_of(environment.stats, seconds),
        _errors(environment, runner),
        between(before, watch.look()),
        learned_within_s,
        rate,
        alone.tokens_per_s if alone else None,
        watch.alerts(),
        alone.median_s if alone else None,
    )


def _tokens(before: Written | None, after: Written | None) -> float:
    """Tokens written between two moments."""
    return 0.0 if before is None or after is None else after.tokens - before.tokens


def _per_second(before: Written | None, after: Written | None) -> float | None:
    if before is None or after is None or after.at_s <= before.at_s:
        return None
    return _tokens(before, after) / (after.at_s - before.at_s)


def _engine_alone(
    engine: EngineUnderTest, readers: list[Steps], settings: RunSettings, console: Console
) -> Alone | None:
    if not settings.load_engine_alone or not readers:
        return None
    console.print(f"the engine alone for {settings.seconds} s, for readers who do the same again")
    return engine.alone(readers, settings.seconds)


@contextmanager
def _running(environment: Environment, settings: RunSettings) -> Iterator[LocalRunner]:
    runner = environment.create_local_runner()
    runner.start(settings.readers, spawn_rate=max(1.0, settings.readers / SPAWN_S))
    try:
        yield runner
    finally:
        runner.quit()


def _follow(environment: Environment, runner: LocalRunner, started: float, until: float, console: Console) -> None:
    """Print progress until the time is over."""
    while (left_s := until - time.monotonic()) > 0:
        gevent.sleep(min(left_s, PROGRESS_S))
        seconds = time.monotonic() - started
        calls = calls_of(environment.stats, seconds)
        requests, failures = sum(call.requests for call in calls), sum(call.failures for call in calls)
        refused = sum(sum(call.refusals.values()) for call in calls)
        console.print(
            f"{seconds:4.0f} s  {runner.user_count} users  {requests / seconds:.1f} requests/s"
            f"  {failures} failures  {refused} refused",
            highlight=False,
        )


def _errors(environment: Environment, runner: LocalRunner) -> list[str]:
    failures = [f"{one.occurrences} x {one.to_name()}" for one in environment.stats.errors.values()]
    crashes = [f"{one['count']} x {one['msg']}" for one in runner.exceptions.values()]
    return failures + crashes


def show(outcome: LoadOutcome, console: Console) -> None:
    """Print everything."""
    console.print(table_of(outcome))
    console.print(in_words(outcome), highlight=False)
    for error in outcome.errors:
        console.print(error, style="red", markup=False, soft_wrap=True)
    if not outcome.passed and not outcome.failures:
        console.print("nothing was served", style="red")


def main() -> int:
    """The command line; returns the exit status."""
    console = console_for_tables()
    try:
        settings = settings_or_advice()
        outcome = load(settings, console)
    except (WrongSettings, NotRegistered) as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("stopped")
        return 130
    show(outcome, console)
    if settings.out:
        settings.out.parent.mkdir(parents=True, exist_ok=True)
        settings.out.write_text(json.dumps(outcome.as_json(), indent=1) + "\n")
        console.print(f"Figures: {settings.out}")
    return 0 if outcome.passed else 1


def settings_or_advice() -> RunSettings:
    """The options.

    Raises:
        WrongSettings: one of them is not valid.
    """
    try:
        return RunSettings()
    except ValidationError as error:
        raise WrongSettings(wrong_settings(error)) from error


if __name__ == "__main__":
    raise SystemExit(main())
