"""Counts of interactions that the system accepted and learned during the load, and how soon it learned them."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from loadtests.readings import OwnMetrics, Reading, Source, ThroughGrafana, Unreadable
from loadtests.settings import StackSettings

UNCHANGED_S: Final = 6.0  # longer than Prometheus waits between two looks
PATIENCE_S: Final = 30.0
POLL_S: Final = 1.0
UNHANDLED: Final = ("other_basis", "refused")

Buckets = Mapping[float, float]
"""A histogram: for each upper bound, how many observations are at most as large."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Counters at one moment; None where nobody could be asked.

    Attributes:
        accepted: interactions that the collector took.
        learned: signals that were learned.
        freshness: see `Work`.
        silent: interactions of which no signal is made, such as impressions.
        handled: signals that the learner has finished: learned, known before, or outdated by a later decision.
    """

    accepted: int | None
    learned: int | None
    freshness: Buckets | None
    silent: int | None = None
    handled: int | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """What was done between two moments.

    Attributes:
        accepted: interactions that the collector took.
        learned: signals that were learned.
        freshness_p50_s: from the collector's receipt to the written profile, seconds, the median.
        freshness_p95_s: its 95th percentile.
        unlearned: accepted interactions that are signals and that the learner has not finished.
    """

    accepted: int | None
    learned: int | None
    freshness_p50_s: float | None
    freshness_p95_s: float | None
    unlearned: int | None = None


class Watch:
    """Reads the counters of a running system: of the local run at the services, of compose through Grafana."""

    def __init__(self, settings: StackSettings) -> None:
        self._collector: Source = OwnMetrics(settings.collector)
        self._prometheus = grafana = ThroughGrafana(settings.grafana)
        self._learners: Sequence[Source] = (OwnMetrics(settings.learner), grafana)
        self._featurizers: Sequence[Source] = (OwnMetrics(settings.featurizer), grafana)

    def look(self) -> Facts:
        """The counters now."""
        accepted = _first("slop_collector_accepted_total", (self._collector,))
        buckets = _first("slop_learner_freshness_seconds_bucket", self._learners)
        signals = self._signals()
        return Facts(
            _total(accepted, lambda reading: reading.labels.get("type") != "post"),
            _total(signals, _is("learned")),
            None if buckets is None else added_up(buckets),
            _total(_first("slop_featurizer_interactions_total", self._featurizers), _is("silent")),
            _total(signals, lambda reading: not _is(*UNHANDLED)(reading)),
        )

    def settle(self) -> None:
        """Wait until nothing more is learned, or patience ends."""
        deadline = time.monotonic() + PATIENCE_S
        learned, since = self._learned(), time.monotonic()
        while learned is not None and time.monotonic() < min(deadline, since + UNCHANGED_S):
            time.sleep(POLL_S)
            if (now := self._learned()) != learned:
                learned, since = now, time.monotonic()

    def alerts(self) -> list[str]:
        """The alerts that fire now; none where there is no Prometheus."""
        try:
            firing = self._prometheus.read('ALERTS{alertstate="firing"}')
        except Unreadable:
            return []
        return sorted({reading.labels.get("alertname", "") for reading in firing})

    def _learned(self) -> int | None:
        return _total(self._signals(), _is("learned"))

    def _signals(self) -> list[Reading] | None:
        return _first("slop_learner_signals_total", self._learners)


def between(before: Facts, after: Facts) -> Work:
    """What was done from one look to the next."""
    buckets = _grown(before.freshness, after.freshness)
    return Work(
        _more(before.accepted, after.accepted),
        _more(before.learned, after.learned),
        quantile(buckets, 0.5),
        quantile(buckets, 0.95),
        _unlearned(before, after),
    )


def _unlearned(before: Facts, after: Facts) -> int | None:
    accepted, silent = _more(before.accepted, after.accepted), _more(before.silent, after.silent)
    handled = _more(before.handled, after.handled)
    return None if accepted is None or silent is None or handled is None else accepted - silent - handled


def quantile(buckets: Buckets, share: float) -> float | None:
    """The bound that a share of the observations stays under, interpolated within its bucket as Prometheus does.

    Returns:
        None if there are no observations; the largest finite bound for those that are beyond it.
    """
    bounds = sorted(buckets)
    if not bounds or not buckets[bounds[-1]]:
        return None
    wanted = share * buckets[bounds[-1]]
    for low, high in pairwise([0.0, *bounds]):
        below = buckets.get(low, 0.0)
        if buckets[high] >= wanted:
            return low if math.isinf(high) else low + (high - low) * (wanted - below) / (buckets[high] - below)
    return None


def added_up(readings: Sequence[Reading]) -> Buckets:
    """The buckets of all processes' histograms together."""
    together: dict[float, float] = {}
    for reading in readings:
        bound = float(reading.labels["le"])
        together[bound] = together.get(bound, 0.0) + reading.value
    return together


def _first(name: str, sources: Sequence[Source]) -> list[Reading] | None:
    for source in sources:
        try:
            if readings := source.read(name):
                return readings
        except Unreadable:
            continue
    return None


def _total(readings: Sequence[Reading] | None, counts: Callable[[Reading], bool]) -> int | None:
    return None if readings is None else int(sum(reading.value for reading in readings if counts(reading)))


def _is(*outcomes: str) -> Callable[[Reading], bool]:
    return lambda reading: reading.labels.get("outcome") in outcomes


def _more(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before


def _grown(before: Buckets | None, after: Buckets | None) -> Buckets:
    if before is None or after is None:
        return {}
    return {bound: count - before.get(bound, 0.0) for bound, count in after.items()}
