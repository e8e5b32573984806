"""The results of a load test: a row for every call, a table for people, JSON for machines."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from locust.stats import RequestStats, StatsEntry
from rich.table import Table

from loadtests.facts import Work

P95: Final = 0.95


@dataclass(frozen=True, slots=True)
class Call:
    """One call's figures.

    Attributes:
        requests: all that were answered or failed, refusals included.
        failures: neither served nor refused as documented.
        refusals: how many got 429 and 503 with Retry-After, by status.
        rate: requests a second.
        median_ms, p95_ms, max_ms: of those that were not refused; None if there is none.
    """

    name: str
    requests: int
    failures: int
    refusals: dict[str, int]
    rate: float
    median_ms: float | None
    p95_ms: float | None
    max_ms: float | None


@dataclass(frozen=True, slots=True)
class LoadOutcome:
    """A whole run.

    Attributes:
        errors: failures in words, with how often each came.
        work: what the system did meanwhile.
        learned_within_s: from the end of the load until all was learned, seconds; None where that is not known.
        tokens_per_s: that the engine wrote meanwhile; None where it could not be asked.
        engine_alone_tokens_per_s: that it writes for readers who do the same with nothing else at work.
        engine_alone_median_s: that a request for posts takes then.
        alerts: that fired at the end, where Prometheus can be asked.
    """

    scenario: str
    readers: int
    seconds: float
    calls: Sequence[Call]
    errors: Sequence[str]
    work: Work
    learned_within_s: float | None = None
    tokens_per_s: float | None = None
    engine_alone_tokens_per_s: float | None = None
    alerts: Sequence[str] = ()
    engine_alone_median_s: float | None = None

    @property
    def failures(self) -> int:
        """Failures of all calls, and errors of the load test itself."""
        return max(sum(call.failures for call in self.calls), len(self.errors))

    @property
    def passed(self) -> bool:
        """Whether something was served, and nothing failed."""
        return not self.failures and any(call.median_ms is not None for call in self.calls)

    def as_json(self) -> dict[str, Any]:
        """Everything, for machines."""
        return asdict(self) | {
            "failures": self.failures,
            "passed": self.passed,
            "freshness_s": {"p50": self.work.freshness_p50_s, "p95": self.work.freshness_p95_s},
            "unlearned": self.work.unlearned,
        }


def calls_of(stats: RequestStats, seconds: float) -> list[Call]:
    """The figures of locust's statistics, in which refusals have rows of their own (see `loadtests.api`)."""
    rows: dict[tuple[str, str], dict[str, StatsEntry]] = defaultdict(dict)
    for entry in stats.entries.values():
        method, _, status = entry.method.partition(" ")
        rows[entry.name, method][status] = entry
    return [_call(f"{method} {name}", entries, seconds) for (name, method), entries in sorted(rows.items())]


def _call(name: str, entries: dict[str, StatsEntry], seconds: float) -> Call:
    """The figures of a call from its rows by the status of the refusal; the row of what was not refused has none."""
    requests = sum(entry.num_requests for entry in entries.values())
    refusals = {status: entry.num_requests for status, entry in entries.items() if status}
    if (served := entries.get("")) is None:
        return Call(name, requests, 0, refusals, requests / seconds, None, None, None)
    longest_ms = float(served.max_response_time)
    p95_ms = min(longest_ms, float(served.get_response_time_percentile(P95)))  # which is rounded
    median_ms = min(longest_ms, float(served.median_response_time))
    return Call(name, requests, served.num_failures, refusals, requests / seconds, median_ms, p95_ms, longest_ms)


def table_of(outcome: LoadOutcome) -> Table:
    """The calls, a row each."""
    title = f"{outcome.scenario}: {outcome.readers} at a time for {outcome.seconds:.0f} s"
    table = Table(title=title, title_justify="left")
    table.add_column("call", no_wrap=True)
    for heading in ("requests", "failures", "refused", "per second", "median", "p95", "longest"):
        table.add_column(heading, justify="right", no_wrap=True)
    for call in outcome.calls:
        refused = ", ".join(f"{count} x {status}" for status, count in sorted(call.refusals.items())) or "0"
        times = map(_duration, (call.median_ms, call.p95_ms, call.max_ms))
        table.add_row(call.name, str(call.requests), str(call.failures), refused, f"{call.rate:.1f}", *times)
    return table


def in_words(outcome: LoadOutcome) -> str:
    """What the system did meanwhile, in a few sentences."""
    return " ".join([*_about_learning(outcome.work), *_about_the_end(outcome), *_about_the_engine(outcome)])


def _about_the_end(outcome: LoadOutcome) -> Iterator[str]:
    unlearned = outcome.work.unlearned
    if unlearned is not None:
        yield f"{unlearned:,} that say something are not learned."
    if outcome.learned_within_s is not None:
        yield f"All of it was learned {outcome.learned_within_s:.1f} s after the last reaction."
    if outcome.alerts:
        yield f"Alerts: {', '.join(outcome.alerts)}."


def _about_the_engine(outcome: LoadOutcome) -> Iterator[str]:
    tokens, alone = outcome.tokens_per_s, outcome.engine_alone_tokens_per_s
    if tokens is not None:
        yield f"The engine wrote {tokens:.1f} tokens a second."
    if tokens is not None and alone:
        yield f"Alone, for readers who do the same, it writes {alone:.1f}: {tokens / alone:.2f} of that."
    took_ms = next((call.median_ms for call in outcome.calls if call.name.endswith("/v1/generate")), None)
    if outcome.engine_alone_median_s is not None and took_ms is not None:
        alone_s = outcome.engine_alone_median_s
        yield f"Half of the requests for posts take {took_ms / 1_000:.1f} s at most, alone {alone_s:.1f} s."


def _about_learning(work: Work) -> list[str]:
    told = []
    if work.accepted is not None:
        told.append(f"{work.accepted:,} interactions were accepted.")
    if work.learned is None:
        told.append(
            "What was learned is not known here: neither the learner's metrics nor Grafana's Prometheus answers."
        )
    else:
        told.append(f"{work.learned:,} signals were learned (an impression says nothing to learn).")
    if work.freshness_p50_s is not None and work.freshness_p95_s is not None:
        told.append(f"From receipt to profile: median {work.freshness_p50_s:.2f} s, p95 {work.freshness_p95_s:.2f} s.")
    return told


def _duration(milliseconds: float | None) -> str:
    if milliseconds is None:
        return "-"
    return f"{milliseconds:.0f} ms" if milliseconds < 1_000 else f"{milliseconds / 1_000:.1f} s"
