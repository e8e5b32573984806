"""Which signals of a reader are new, and which learned decisions they have undone."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, Self

from slop.profiles import MOST_SOURCES, Applied, Profile
from slop.recent import Recent, RememberedDecision, Window, seconds
from slop.signals import signal_digest
from slop.v1.signal_pb2 import Signal

NEUTRAL: Final = 0.5  # the label that says neither liked nor disliked
# A signal of at least this weight says whether its post is liked: a like, a comment, a dwell of full weight; no click.
LIKED_WEIGHT: Final = 0.5


class SignalFate(StrEnum):
    """What becomes of a signal.

    APPLIED_BEFORE: it is a replay: a signal of this or a later offset of the partition was applied before.
    RETRIED: its event was received before; the client has sent it again.
    SUPERSEDED: it repeats the decision that holds, or a later decision holds; nothing is learned.
    WITHDRAWN: it withdraws a decision, which is undone; nothing is learned.
    LEARNED: it is learned. A learned decision that it replaces is undone before.
    """

    APPLIED_BEFORE = "applied_before"
    RETRIED = "retried"
    SUPERSEDED = "superseded"
    WITHDRAWN = "withdrawn"
    LEARNED = "learned"


class JudgedSignal(NamedTuple):
    """What becomes of a signal, and the learned decision that is to be undone before, if any."""

    fate: SignalFate
    undone: RememberedDecision | None = None


@dataclass(slots=True)
class SignalJudge:
    """Judges the signals of one reader, one after the other in the order of the topic.

    A judgement depends only on the signals before it: not on a clock, and not on how they were cut into batches.

    Attributes:
        applied: for each (epoch, partition) the offset of the last signal that was applied, the latest last, at most
            MOST_SOURCES of them.
        newest_ms: when the newest signal that was applied was received, in milliseconds since the Unix epoch.
        recent: the latest events and decisions.
        window: how much of them is remembered.
        changes: how many signals were applied by this object.
        unremembered: how many signals were judged as APPLIED_BEFORE though their events are not remembered.
    """

    applied: dict[tuple[int, int], int]
    newest_ms: int
    recent: Recent
    window: Window
    changes: int = 0
    unremembered: int = 0

    @classmethod
    def of(cls, profile: Profile, recent: Recent, window: Window) -> Self:
        """From the stored profile and what is remembered of the reader."""
        applied = {(at.epoch, at.partition): at.offset for at in profile.applied}
        return cls(applied, profile.updated_at_ms, recent, window)

    def sources(self) -> tuple[Applied, ...]:
        """`applied`, as a profile has it."""
        return tuple(Applied(*at, offset) for at, offset in self.applied.items())

    def judge(self, signal: Signal) -> JudgedSignal:
        """Judge the next signal, and remember it as applied if it changes something.

        Before the next signal is judged, the caller has to call `undo` with the decision that is undone, and then
        `learned` if the signal is learned.
        """
        source = signal.source
        if source.offset <= self.applied.get((source.epoch, source.partition), -1):
            self.unremembered += not self.recent.was_seen(signal_digest(signal), signal.received_at_ms, self.window)
            return JudgedSignal(SignalFate.APPLIED_BEFORE)
        digest = signal_digest(signal)
        if self.recent.was_seen(digest, signal.received_at_ms, self.window):
            return JudgedSignal(SignalFate.RETRIED)
        held = self._held(signal)
        if held and signal.decided_at_ms < held.decided_at_ms:
            return JudgedSignal(SignalFate.SUPERSEDED)
        self._apply(signal, digest)
        return self._decided(signal, held)

    def learned(self, signal: Signal, beliefs: tuple[float, ...]) -> None:
        """Remember that a signal was learned.

        Args:
            signal: that was judged last.
            beliefs: for each block the probability and the spread that were predicted (`slop.latent.Beliefs`).
        """
        recent = self.recent
        recent.steps += 1
        if signal.weight >= LIKED_WEIGHT and signal.label > NEUTRAL:
            recent.like(signal.post_id, self.window)
        elif signal.weight >= LIKED_WEIGHT and signal.label < NEUTRAL:
            recent.no_longer_like(signal.post_id)
        if signal.decision:
            self._decide(signal, RememberedDecision(0, 0, signal.label, signal.weight, recent.steps, beliefs))

    def undo(self, decision: RememberedDecision) -> int:
        """Remember that a learned decision is undone; returns how many signals were learned since it was."""
        steps = self.recent.steps - decision.step
        if steps == 0:
            self.recent.steps -= 1
        return steps

    def _held(self, signal: Signal) -> RememberedDecision | None:
        if not signal.decision:
            return None
        return self.recent.decision(signal.decision, signal.received_at_ms, self.window)

    def _apply(self, signal: Signal, digest: bytes) -> None:
        at = signal.source.epoch, signal.source.partition
        self.applied.pop(at, None)
        self.applied[at] = signal.source.offset
        if len(self.applied) > MOST_SOURCES:
            del self.applied[next(iter(self.applied))]
        self.newest_ms = max(self.newest_ms, signal.received_at_ms)
        self.recent.see(digest, signal.received_at_ms, self.window)
        self.changes += 1

    def _decided(self, signal: Signal, held: RememberedDecision | None) -> JudgedSignal:
        """Judge a signal that decides nothing, or that is decided no earlier than the decision that holds (`held`)."""
        learned = held if held and held.step else None
        if signal.withdraws:
            self._decide(signal, RememberedDecision(0, 0))
            if learned and learned.label > NEUTRAL:
                self.recent.no_longer_like(signal.post_id)
            return JudgedSignal(SignalFate.WITHDRAWN, learned)
        if learned and (learned.label, learned.weight) == (signal.label, signal.weight):
            self._decide(signal, learned)
            return JudgedSignal(SignalFate.SUPERSEDED)
        return JudgedSignal(SignalFate.LEARNED, learned)

    def _decide(self, signal: Signal, decision: RememberedDecision) -> None:
        if signal.decision:
            received_s = seconds(signal.received_at_ms)
            dated = decision._replace(decided_at_ms=signal.decided_at_ms, received_s=received_s)
            self.recent.decide(signal.decision, dated, self.window)
