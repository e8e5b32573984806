"""Which signals of a user are new: neither applied before, nor a client's retry of an event that was learned."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from slop.profiles import Profile
from slop.v1.signal_pb2 import Signal


@dataclass(slots=True)
class Seen:
    """What of a user was learned until now; it takes the user's signals one by one, in the order of the topic.

    What it says depends on the signals before alone, on no clock and not on how they fell into batches.

    Attributes:
        partition: of the last signal that was learned.
        offset: of the last signal that was learned.
        newest_ms: when the newest signal learned was received; event ids are remembered for `window_ms` before it.
        events: when the event ids that are remembered were received.
    """

    partition: int
    offset: int
    newest_ms: int
    window_ms: int
    events: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, profile: Profile, window_ms: int, events: Iterable[tuple[str, int | None]]) -> "Seen":
        """From what is stored: a profile, and the time that each event id was seen, None for never."""
        known = {event_id: at_ms for event_id, at_ms in events if at_ms is not None}
        return cls(profile.partition, profile.offset, profile.updated_at_ms, window_ms, known)

    def was_applied(self, signal: Signal) -> bool:
        """Whether a signal was learned before, or came before one that was: a replay."""
        source = signal.source
        return source.partition == self.partition and source.offset <= self.offset

    def was_retried(self, signal: Signal) -> bool:
        """Whether another signal of the same event was learned within the window."""
        at_ms = self.events.get(signal.event_id)
        return at_ms is not None and at_ms >= max(self.newest_ms, signal.received_at_ms) - self.window_ms

    def learn(self, signal: Signal) -> None:
        """Remember a signal that is learned now."""
        self.partition, self.offset = signal.source.partition, signal.source.offset
        self.newest_ms = max(self.newest_ms, signal.received_at_ms)
        self.events[signal.event_id] = max(signal.received_at_ms, self.events.get(signal.event_id, 0))
