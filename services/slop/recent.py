"""What is remembered of a reader's latest signals: events, to know a client's retry, and decisions, to take them back.

It is kept as it is stored, in bytes (little-endian): a header, the events and then the decisions, each newest last.

- header: format (uint8), blocks of the latent (uint8), number of events (uint16), steps (uint32)
- event: digest (8 bytes), received (uint32, seconds)
- decision: which (uint64), decided (int64, ms), received (uint32, seconds), label, weight (float32), step (uint32), and
  for each block the probability and the spread that were believed before (float32 each)
"""

import hashlib
import struct
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

FORMAT: Final = 1
MOST_DECISIONS: Final = 128
# So many of the newest stay whatever their time: one received time far in the future empties nothing.
FEWEST_KEPT: Final = 64
LATEST_S: Final = 2**32 - 1

_HEADER: Final = struct.Struct("<BBHI")
_EVENT: Final = struct.Struct("<8sI")
_TIME: Final = struct.Struct("<I")
_KEY: Final = struct.Struct("<Q")
_EVENT_TIME_AT: Final = 8
_DECISION_TIME_AT: Final = 16
_CONTENT: Final = struct.Struct("<Qff?")


class InvalidRecent(ValueError):  # noqa: N818
    """Stored bytes that are not of this format, or are damaged."""


class Window(NamedTuple):
    """How much is remembered.

    Attributes:
        ms: for how long, by the times at which signals were received.
        events: so many of the newest events, at most; less than 2^16.
        decisions: so many of the newest decisions, at most.
    """

    ms: int
    events: int = 512
    decisions: int = MOST_DECISIONS


class RememberedDecision(NamedTuple):
    """A decision that holds.

    Attributes:
        decided_at_ms: of two signals the one decided later holds.
        received_s: when its signal was received, in seconds.
        label: of the signal that was learned.
        weight: of it.
        step: the reader's how manieth step of learning it was; 0: it is taken back, nothing is learned of it.
        beliefs: for each block the probability of a like and the spread, as believed before (`slop.latent.Beliefs`).
    """

    decided_at_ms: int
    received_s: int
    label: float = 0.0
    weight: float = 0.0
    step: int = 0
    beliefs: tuple[float, ...] = ()


def event_digest(event_id: str, content: bytes = b"") -> bytes:
    """What is remembered of an event: 8 bytes; of two contents under the same id it is not the same."""
    return hashlib.blake2b(event_id.encode(), digest_size=8, key=content).digest()


def content_of(decision: int, label: float, weight: float, withdraws: bool) -> bytes:
    """What an event with a decision says, for `event_digest`: heartbeats repeat an id and say something else."""
    return _CONTENT.pack(decision, label, weight, withdraws)


def seconds(milliseconds: int) -> int:
    """A received time in whole seconds, as it is remembered: what is out of range is as near to it as can be."""
    return min(max(milliseconds // 1_000, 0), LATEST_S)


@dataclass(slots=True)
class Recent:
    """The latest events and decisions of a reader under a latent of `blocks` blocks.

    Attributes:
        blocks: how many blocks the latent has.
        steps: how many signals were learned, without those that were taken back before another one was learned.
        events: packed, newest last.
        decisions: packed, newest last.
    """

    blocks: int
    steps: int = 0
    events: bytes = b""
    decisions: bytes = b""

    @classmethod
    def from_bytes(cls, data: bytes | None, blocks: int) -> Self:
        """From what is stored; None: nothing is.

        Raises:
            InvalidRecent: it is of another format or length, or of a latent of other blocks.
        """
        if data is None:
            return cls(blocks)
        if len(data) < _HEADER.size:
            raise InvalidRecent(f"{len(data)} bytes")
        number, of_blocks, events, steps = _HEADER.unpack_from(data)
        end = _HEADER.size + events * _EVENT.size
        if (number, of_blocks) != (FORMAT, blocks) or len(data) < end or (len(data) - end) % _size_of(blocks):
            raise InvalidRecent(f"format {number}, {of_blocks} blocks, {events} events in {len(data)} bytes")
        return cls(blocks, steps, data[_HEADER.size : end], data[end:])

    def to_bytes(self) -> bytes:
        """As it is stored."""
        header = _HEADER.pack(FORMAT, self.blocks, len(self.events) // _EVENT.size, self.steps)
        return header + self.events + self.decisions

    def was_seen(self, digest: bytes, received_ms: int, window: Window) -> bool:
        """Whether the event was received within the window before a signal received at `received_ms`, or after it."""
        at = _last(self.events, digest, _EVENT.size)
        return at >= 0 and _within(_time_at(self.events, at + _EVENT_TIME_AT), received_ms, window)

    def see(self, digest: bytes, received_ms: int, window: Window) -> None:
        """Remember an event, and forget what is too old or too much."""
        events = self.events + _EVENT.pack(digest, seconds(received_ms))
        self.events = _pruned(events, _EVENT.size, _EVENT_TIME_AT, received_ms, window.events, window)

    def decision(self, key: int, received_ms: int, window: Window) -> RememberedDecision | None:
        """The decision that holds for a signal received at `received_ms`; None: there is none within the window."""
        record = self._layout()
        at = _last(self.decisions, _KEY.pack(key), record.size)
        if at < 0 or not _within(_time_at(self.decisions, at + _DECISION_TIME_AT), received_ms, window):
            return None
        _, decided_at_ms, received_s, label, weight, step, *beliefs = record.unpack_from(self.decisions, at)
        return RememberedDecision(decided_at_ms, received_s, label, weight, step, tuple(beliefs))

    def decide(self, key: int, decision: RememberedDecision, window: Window) -> None:
        """Remember a decision instead of an earlier one of the same key, and forget what is too old or too much."""
        record, decisions = self._layout(), self.decisions
        at = _last(decisions, _KEY.pack(key), record.size)
        if at >= 0:
            decisions = decisions[:at] + decisions[at + record.size :]
        *fields, beliefs = decision
        decisions += record.pack(key, *fields, *(beliefs or (0.0,) * (2 * self.blocks)))
        received_ms = 1_000 * decision.received_s
        self.decisions = _pruned(decisions, record.size, _DECISION_TIME_AT, received_ms, window.decisions, window)

    def _layout(self) -> struct.Struct:
        return _LAYOUTS[self.blocks]


class _Layouts(dict[int, struct.Struct]):
    """The layout of a decision by the number of blocks."""

    def __missing__(self, blocks: int) -> struct.Struct:
        self[blocks] = struct.Struct(f"<QqIffI{2 * blocks}f")
        return self[blocks]


_LAYOUTS: Final = _Layouts()


def _size_of(blocks: int) -> int:
    return _LAYOUTS[blocks].size


def _last(packed: bytes, key: bytes, size: int) -> int:
    """Where the last record of `size` bytes that begins with the key lies; -1: there is none."""
    at = packed.rfind(key)
    while at >= 0 and at % size:
        at = packed.rfind(key, 0, at + len(key) - 1)
    return at


def _time_at(packed: bytes, at: int) -> int:
    received_s: int = _TIME.unpack_from(packed, at)[0]
    return received_s


def _within(received_s: int, now_ms: int, window: Window) -> bool:
    return received_s >= seconds(now_ms - window.ms)


def _pruned(packed: bytes, size: int, time_at: int, now_ms: int, most: int, window: Window) -> bytes:
    """Without the oldest beyond `most`, and without those before the window but for the FEWEST_KEPT newest."""
    count = len(packed) // size
    gone = max(0, count - most)
    while count - gone > FEWEST_KEPT and not _within(_time_at(packed, gone * size + time_at), now_ms, window):
        gone += 1
    return packed[gone * size :]
