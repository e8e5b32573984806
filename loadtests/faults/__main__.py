"""`python -m loadtests.faults` (`make faults`): what is lost when things go wrong? Nothing should be.

    ROUNDS=20 OUT=figures.json python -m loadtests.faults --engine

Starts a stack of its own, on free loopback ports and with its data in `.run/faults`, has readers react without a pause,
and meanwhile kills its parts in turn, then takes away what they stand on. After each fault it looks whether everything
that was answered with 202 is learned, nothing twice, and the profiles are those of a replay to which nothing happened.
Ends with 1 if something does not hold.
"""

import signal
import sys
import time
from typing import Any, NoReturn

from pydantic import ValidationError
from rich.console import Console

from client.console import INTERRUPTED, console_for_tables
from infra.local.settings import LocalSettings
from infra.models.packages import MissingBinary
from loadtests.faults import docs
from loadtests.faults.faults import Fault, kills, others
from loadtests.faults.lab import Lab, fresh
from loadtests.faults.outcome import FaultsOutcome, Row, show
from loadtests.faults.settings import FaultSettings
from loadtests.faults.suite import Suite
from loadtests.settings import in_words


def run(settings: FaultSettings, console: Console) -> FaultsOutcome:
    """Do all of it, telling how it goes.

    Raises:
        infra.models.packages.MissingBinary: a server is not installed.
        RuntimeError, TimeoutError: the stack does not start.
    """
    began = time.monotonic()
    faults = kills(settings) + (others(settings) if settings.others else [])
    folder = fresh(LocalSettings().run_dir / "faults")
    lab = Lab(settings, folder, late=len(faults) + 1)
    console.print(f"starting a stack of its own; logs: {folder}", soft_wrap=True, highlight=False)
    with lab.running():
        suite = Suite(lab)
        console.print(f"ready after {suite.warm_up():.0f} s", highlight=False)
        rows = [_tell(row, console) for row in _rows(suite, lab, faults)]
        rows.append(_tell(suite.at_the_end(len(rows) + 1), console))
    broker = "Apache Kafka" if lab.durable else "Tansu"
    return FaultsOutcome(rows, time.monotonic() - began, broker, settings.engine)


def _rows(suite: Suite, lab: Lab, faults: list[Fault]) -> Any:
    behind = False
    for number, fault in enumerate(faults, 1):
        if skipped := suite.skipped(number, fault):
            yield skipped
            continue
        if fault.proxied and not behind:
            lab.use_proxies()
            behind = True
        yield suite.round(number, fault)


def _tell(row: Row, console: Console) -> Row:
    console.print(row.line, style="" if row.holds else "red", markup=False, highlight=False, soft_wrap=True)
    for wrong in row.wrong:
        console.print(f"     {wrong}", style="red", markup=False, soft_wrap=True)
    return row


def main() -> int:
    """The command line; returns the exit status."""
    console = console_for_tables()
    signal.signal(signal.SIGTERM, _leave)
    try:
        settings = FaultSettings()
        outcome = run(settings, console)
    except ValidationError as error:
        console.print(in_words(error), style="red", markup=False)
        return 1
    except (MissingBinary, RuntimeError, TimeoutError) as error:
        console.print(f"{type(error).__name__}: {error}", style="red", markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("stopped")
        return INTERRUPTED
    show(outcome, console)
    if settings.out:
        outcome.write(settings.out)
        console.print(f"Figures: {settings.out}")
    if settings.docs:
        docs.write(outcome)
        console.print(f"Table: {docs.PAGE}")
    return 0 if outcome.holds else 1


def _leave(*_: object) -> NoReturn:
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
