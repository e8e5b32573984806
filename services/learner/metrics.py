"""The metrics of the learner."""

from collections import Counter as Tally
from typing import Final

from prometheus_client import Counter, Gauge, Histogram
from redis import Redis

from learner.learning import BatchOutcome, LearnedSignals
from learner.lift import LiftCounter, Reaction
from slop.arms import Arm
from slop.lift import ArmOfExperiment

NO_ARM: Final = "none"
OUTCOMES: Final = ("learned", "applied_before", "retried", "superseded", "withdrawn", "other_basis")
REFUSED: Final = "refused"

SIGNALS: Final = Counter("slop_learner_signals", "Signals by what became of them.", ["outcome"])
BATCH_SIGNALS: Final = Histogram(
    "slop_learner_batch_signals", "Records in a batch.", buckets=(1, 3, 10, 30, 100, 300, 1_000, 2_000)
)
BATCH_SECONDS: Final = Histogram(
    "slop_learner_batch_seconds",
    "From a batch's arrival to its commit.",
    buckets=(0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
)
FRESHNESS_SECONDS: Final = Histogram(
    "slop_learner_freshness_seconds",
    "From the collector's receipt of an interaction to the profile that has learned it.",
    buckets=(0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10, 60, 600, 3_600),
)
LAST_RECEIVED: Final = Gauge(
    "slop_learner_last_received_seconds",
    "Unix time at which the collector received the newest interaction that was learned; 0 before the first.",
)
UNEXPLAINED_REPLAYS: Final = Counter(
    "slop_learner_unexplained_replays",
    "Signals taken for replays though nothing was gone back, and their events are not among those remembered.",
)
REACTIONS: Final = Counter(
    "slop_learner_reactions",
    "Learned signals by the arm that wrote the post for its reader (none: no known arm did), and what they say.",
    ["arm", "observed"],
)
PREFERENCE: Final = Histogram(
    "slop_learner_preference",
    "Probability of a like that was predicted before the signal was learned, by what the signal says.",
    ["observed"],
    buckets=[tenths / 10 for tenths in range(1, 11)],
)

_ARMS: Final = frozenset(map(str, Arm))
_OBSERVED: Final = {True: "liked", False: "not_liked"}
_PREFERENCES: Final = {liked: PREFERENCE.labels(name) for liked, name in _OBSERVED.items()}

for _outcome in (*OUTCOMES, REFUSED):
    SIGNALS.labels(_outcome)
for _arm in (*Arm, NO_ARM):
    for _name in _OBSERVED.values():
        REACTIONS.labels(_arm, _name)


class LearnerMetrics:
    """Counts what became of batches."""

    def __init__(self) -> None:
        self._newest_ms = 0
        self._lift = LiftCounter()

    def count(self, outcome: BatchOutcome, now_ms: float) -> None:
        """Count a batch whose profiles were written at `now_ms`, in milliseconds since the Unix epoch."""
        for name in OUTCOMES:
            SIGNALS.labels(name).inc(getattr(outcome, name))
        SIGNALS.labels(REFUSED).inc(len(outcome.rejected))
        self._freshness(outcome.signals, now_ms)
        _preferences(outcome.signals)
        signals = outcome.signals
        written_in = map(ArmOfExperiment, signals.experiments, signals.arms)
        self._lift.count(map(Reaction, signals.readers, written_in, signals.liked), now_ms)

    def keep_lift(self, redis: Redis) -> None:
        """Add to the lift's sums in Redis what was counted since the last time."""
        self._lift.keep(redis)

    def _freshness(self, signals: LearnedSignals, now_ms: float) -> None:
        for received_ms in signals.received_ms:
            FRESHNESS_SECONDS.observe(max(0.0, now_ms - received_ms) / 1_000)
        self._newest_ms = max(self._newest_ms, *signals.received_ms, 0)
        LAST_RECEIVED.set(self._newest_ms / 1_000)


def _preferences(signals: LearnedSignals) -> None:
    for liked, predicted in zip(signals.liked, signals.predicted, strict=True):
        _PREFERENCES[liked].observe(predicted)
    for (arm, liked), count in Tally(zip(signals.arms, signals.liked, strict=True)).items():
        REACTIONS.labels(arm if arm in _ARMS else NO_ARM, _OBSERVED[liked]).inc(count)
