"""The results of the faults: a row for each, for people, for machines and for docs/faults.md."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

HEADINGS: Final = (
    "",
    "fault",
    "accepted",
    "silent",
    "learned",
    "lost",
    "twice",
    "as in peace",
    "not ready said",
    "ready",
    "learned all",
    "",
)
DIFFERING_TOLD: Final = 3  # to people who watch
HOLDS: Final = "✓"
FAILS: Final = "✗"
SKIPPED: Final = "-"


@dataclass(frozen=True, slots=True)
class Row:
    """The results of one fault.

    Attributes:
        number: of the round.
        fault: its name.
        skipped: why it was not done; empty where it was.
        accepted: events that the collector acknowledged.
        silent: impressions among them, which become no signals.
        expected: the others, which are signals.
        missing: signals that were not learned.
        twice: signals too many.
        compared: readers whose profiles were compared with those of a replay in peace.
        differing: readers whose profiles are not the same, each with what is not.
        said: of each service the checks that failed meanwhile.
        ready_s: from the end of the fault until all services were ready; None where they never were.
        learned_s: from the end of the fault until all was learned; None where it never was.
        wrong: what else did not hold.
    """

    number: int
    fault: str
    skipped: str = ""
    accepted: int = 0
    silent: int = 0
    expected: int = 0
    missing: int = 0
    twice: int = 0
    compared: int = 0
    differing: Sequence[str] = ()
    said: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ready_s: float | None = None
    learned_s: float | None = None
    wrong: Sequence[str] = ()

    @property
    def holds(self) -> bool:
        """Whether everything was as it should be; also where nothing was done."""
        return not (self.missing or self.twice or self.differing or self.wrong)

    @property
    def cells(self) -> tuple[str, ...]:
        """For a table with HEADINGS."""
        if self.skipped:
            return (str(self.number), self.fault, *[""] * 6, self.skipped, "", "", SKIPPED)
        same = f"{self.compared - len(self.differing)} of {self.compared}"
        counts = (self.accepted, self.silent, self.expected - self.missing, self.missing, self.twice)
        times = map(_seconds, (self.ready_s, self.learned_s))
        mark = HOLDS if self.holds else FAILS
        return (str(self.number), self.fault, *map(str, counts), same, _words(self.said), *times, mark)

    @property
    def line(self) -> str:
        """For people who watch."""
        if self.skipped:
            return f"{SKIPPED} {self.number:>2} {self.fault}: {self.skipped}"
        mark = HOLDS if self.holds else FAILS
        told = [f"{self.expected - self.missing} of {self.expected} learned"]
        told += [f"{self.twice} TWICE"] if self.twice else []
        told += [f"{self.compared - len(self.differing)} of {self.compared} profiles as in peace"]
        told += [f"not {'; '.join(self.differing[:DIFFERING_TOLD])}"] if self.differing else []
        told += [f"ready after {_seconds(self.ready_s)}, all learned after {_seconds(self.learned_s)}"]
        told += [f"said: {words}"] if (words := _words(self.said)) else []
        return f"{mark} {self.number:>2} {self.fault:<22} {'; '.join(told)}"


@dataclass(frozen=True, slots=True)
class FaultsOutcome:
    """A whole run."""

    rows: Sequence[Row]
    seconds: float
    broker: str
    engine: bool

    @property
    def holds(self) -> bool:
        """Whether everything did."""
        return all(row.holds for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        """Everything, for machines."""
        rows = [asdict(row) | {"holds": row.holds} for row in self.rows]
        figures = {"seconds": round(self.seconds, 1), "broker": self.broker, "engine": self.engine, "holds": self.holds}
        return figures | {"rows": rows}

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.as_json(), indent=1, ensure_ascii=False) + "\n")

    def summary(self) -> str:
        """In a sentence."""
        done = [row for row in self.rows if not row.skipped]
        failed = [row for row in done if not row.holds]
        signals = self.rows[-1].expected  # of all rounds together
        what = f"{len(failed)} of {len(done)} did not hold" if failed else f"all {len(done)} hold"
        return f"{what}; {signals:,} signals, {self.seconds / 60:.0f} minutes, {self.broker}"


def table_of(outcome: FaultsOutcome) -> Table:
    """A row for every fault."""
    table = Table(title="what was learned while things went wrong", title_justify="left")
    for heading in HEADINGS:
        table.add_column(
            heading, justify="right" if heading in {"accepted", "silent", "learned", "lost", "twice"} else "left"
        )
    for row in outcome.rows:
        table.add_row(*row.cells, style="" if row.holds else "red")
    return table


def show(outcome: FaultsOutcome, console: Console) -> None:
    """Print the table, what did not hold, and a summary."""
    console.print(table_of(outcome))
    for row in outcome.rows:
        for wrong in row.wrong:
            console.print(f"{row.number} {row.fault}: {wrong}", style="red", markup=False, soft_wrap=True)
    console.print(outcome.summary(), style="green" if outcome.holds else "red", highlight=False)


def markdown(outcome: FaultsOutcome) -> str:
    """The table for the documentation."""
    lines = [f"| {' | '.join(HEADINGS)} |", f"|{' --- |' * len(HEADINGS)}"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row.cells)} |" for row in outcome.rows]
    return "\n".join(lines)


def _words(said: Mapping[str, Sequence[str]]) -> str:
    """`learner: redis; featurizer: no answer`."""
    return "; ".join(f"{name}: {', '.join(checks)}" for name, checks in said.items() if checks)


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"
