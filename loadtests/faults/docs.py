"""`docs/faults.md`: what the fault suite does, and the table of its last run; written by `--docs`, never by hand."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from infra.local.settings import ROOT
from loadtests.faults.outcome import FAILS, HOLDS, SKIPPED, FaultsOutcome, markdown

PAGE: Final = ROOT / "docs" / "faults.md"

_ABOUT: Final = """# When things go wrong

`make faults` starts a stack of its own, has readers react without a pause, and meanwhile kills each of its parts in
turn (SIGKILL), then takes away what they stand on. After each fault it looks whether

- everything that the collector has answered with 202 is **learned**, and nothing **twice**: each reader decides each
  thing once, so a profile's count of signals is the number of events that say something;
- the profiles are **as in peace**: byte for byte those of a second featurizer and learner with a Redis of their own,
  on a copy of the log, to which nothing happens (but for the id of the log). Two readers of each round react to a post
  whose text comes only after the fault; what they did is learned later, so their profiles are equal up to the order;
- `/readyz` of each service has **said** what was wrong while it was, by the name of the check;
- everything is **ready** again by itself, and all is learned, how long after the fault has ended.
"""


def write(outcome: FaultsOutcome, page: Path = PAGE) -> None:
    """Write the page, with the table of a run."""
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(page_of(outcome, f"{datetime.now(UTC):%Y-%m-%d}"))


def page_of(outcome: FaultsOutcome, day: str) -> str:
    """The page."""
    engine = "with vLLM" if outcome.engine else "without vLLM"
    marks = f"{HOLDS} holds, {FAILS} does not, {SKIPPED} was not done."
    return f"{_ABOUT}\nThe run of {day}, {engine}: {outcome.summary()}. {marks}\n\n{markdown(outcome)}\n"
