"""Which signals of a user say something new, and which earlier ones they take back."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Self

from slop.profiles import MOST_SOURCES, Applied, Profile
from slop.recent import Recent, RememberedDecision, Window, seconds
from slop.signals import signal_digest
from slop.v1.signal_pb2 import Signal


class SignalFate(StrEnum):
    """What becomes of a signal.

    APPLIED_BEFORE: a replay, of this offset or of an earlier one.
    RETRIED: a client sent the same event again.
    SUPERSEDED: it decides what was decided already, or what was decided otherwise later on; nothing is learned.
    WITHDRAWN: it takes a decision back; nothing is learned.
    LEARNED: it is learned, after what it replaces, if anything, is taken back.
    """

    APPLIED_BEFORE = "applied_before"
    RETRIED = "retried"
    SUPERSEDED = "superseded"
    WITHDRAWN = "withdrawn"
    LEARNED = "learned"


class JudgedSignal(NamedTuple):
    """The verdict on a signal, and the learned decision that is to be taken back."""

    fate: SignalFate
    taken_back: RememberedDecision | None = None


@dataclass(slots=True)
class SignalJudge:
    """What is known of a user's signals; it takes them one by one, in the order of the topic.

    What it says depends on the signals before alone, on no clock and not on how they fell into batches.

    Attributes:
        applied: the offset of the last signal that was applied of each (epoch, partition), the latest last, at most
            MOST_SOURCES of them.
        newest_ms: when the newest signal applied was received.
        recent: the latest events and decisions.
        window: how much of them is remembered.
        changes: how many signals were applied by this object.
        unremembered: how many were taken for replays, though their events are not among those remembered.
    """

    applied: dict[tuple[int, int], int]
    newest_ms: int
    recent: Recent
    window: Window
    changes: int = 0
    unremembered: int = 0

    @classmethod
    def of(cls, profile: Profile, recent: Recent, window: Window) -> Self:
        """From what is stored."""
        applied = {(at.epoch, at.partition): at.offset for at in profile.applied}
        return cls(applied, profile.updated_at_ms, recent, window)

    def sources(self) -> tuple[Applied, ...]:
        """How far each partition was applied, the latest last."""
        return tuple(Applied(*at, offset) for at, offset in self.applied.items())

    def judge(self, signal: Signal) -> JudgedSignal:
        """What becomes of the next signal; it is remembered as applied, if anything follows from it.

        What it takes back is to be reported by `take_back`, and then that it was learned by `learned`, before the next
        is judged.
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
        """A signal was learned, with these beliefs before it: for each block probability and spread."""
        recent = self.recent
        recent.steps += 1
        if signal.decision:
            self._decide(signal, RememberedDecision(0, 0, signal.label, signal.weight, recent.steps, beliefs))

    def take_back(self, decision: RememberedDecision) -> int:
        """A decision is taken back out of the latent now; returns how many signals were learned since it was."""
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
        """The verdict on a signal that is not older than the decision that is held."""
        learned = held if held and held.step else None
        if signal.withdraws:
            self._decide(signal, RememberedDecision(0, 0))
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
