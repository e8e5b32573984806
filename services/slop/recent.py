"""What is remembered of a reader: the latest events, to recognise retries; decisions, to undo them; and liked posts.

It is kept packed, as it is stored: little-endian, a header, the liked posts, the events and then the decisions, each
newest last.

- header: format (uint8), number of the latent's blocks (uint8), number of events (uint16), steps (uint32); in format 2
  also the size of the liked posts in bytes (uint16). Format 1 has no liked posts.
- liked post: length of its id in bytes (uint16), its id (UTF-8)
- event: digest (8 bytes), time of receipt (uint32, seconds since the Unix epoch)
- decision: key (uint64), time of the decision (int64, milliseconds since the Unix epoch), time of receipt (uint32,
  seconds), label (float32), weight (float32), step (uint32), and for each block the probability and the spread that
  were predicted (float32 each)
"""

import hashlib
import struct
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

FORMAT: Final = 1
FORMAT_WITH_LIKED: Final = 2
MOST_DECISIONS: Final = 128
MOST_LIKED: Final = 16
LONGEST_ID: Final = 1_024  # bytes of the id of a liked post
# So many of the newest are kept whatever their time, so that one time of receipt far in the future empties nothing.
FEWEST_KEPT: Final = 64
LATEST_S: Final = 2**32 - 1  # the largest time that a uint32 holds

_HEADER: Final = struct.Struct("<BBHI")
_LIKED_SIZE: Final = struct.Struct("<H")
_EVENT: Final = struct.Struct("<8sI")
_TIME: Final = struct.Struct("<I")
_KEY: Final = struct.Struct("<Q")
_EVENT_TIME_AT: Final = 8  # bytes from the start of an event to its time of receipt
_DECISION_TIME_AT: Final = 16  # likewise of a decision
_CONTENT: Final = struct.Struct("<Qff?")


class InvalidRecent(ValueError):  # noqa: N818
    """Stored bytes of another format, of a wrong length, or of a latent with another number of blocks."""


class Window(NamedTuple):
    """How much is remembered.

    Attributes:
        ms: for how long, in milliseconds between times of receipt.
        events: how many of the newest events at most; below 2^16.
        decisions: how many of the newest decisions at most.
        liked: how many of the posts that were liked last at most.
    """

    ms: int
    events: int = 512
    decisions: int = MOST_DECISIONS
    liked: int = MOST_LIKED


class RememberedDecision(NamedTuple):
    """A decision that holds, with what is needed to undo it.

    Attributes:
        decided_at_ms: when it was decided, in milliseconds since the Unix epoch. The latest decision holds.
        received_s: when its signal was received, in seconds since the Unix epoch.
        label: of the learned signal.
        weight: of the learned signal.
        step: the value of `Recent.steps` when it was learned; 0 if it is withdrawn, so that nothing of it is learned.
        beliefs: for each block the probability and the spread that were predicted (`slop.latent.Beliefs`).
    """

    decided_at_ms: int
    received_s: int
    label: float = 0.0
    weight: float = 0.0
    step: int = 0
    beliefs: tuple[float, ...] = ()


def event_digest(event_id: str, content: bytes = b"") -> bytes:
    """What is remembered of an event: 8 bytes that depend on its id and its content.

    Args:
        event_id: as the client sent it.
        content: from `content_of`, at most 64 bytes; empty for an event without a decision.
    """
    return hashlib.blake2b(event_id.encode(), digest_size=8, key=content).digest()


def content_of(decision: int, label: float, weight: float, withdraws: bool) -> bytes:
    """The content of an event with a decision, for `event_digest`.

    Heartbeats repeat an event's id with another value. They are not retries, since their content differs.
    """
    return _CONTENT.pack(decision, label, weight, withdraws)


def seconds(milliseconds: int) -> int:
    """A time of receipt in whole seconds, clipped to what a uint32 holds."""
    return min(max(milliseconds // 1_000, 0), LATEST_S)


@dataclass(slots=True)
class Recent:
    """The latest events and decisions of a reader.

    Attributes:
        blocks: how many blocks the reader's latent has.
        steps: how many signals were learned, without those that were undone before another one was learned.
        events: packed, newest last.
        decisions: packed, newest last.
        liked: ids of the posts that were liked last and still are, newest last.
    """

    blocks: int
    steps: int = 0
    events: bytes = b""
    decisions: bytes = b""
    liked: tuple[str, ...] = ()

    @classmethod
    def from_bytes(cls, data: bytes | None, blocks: int) -> Self:
        """From the stored bytes; None if there are none.

        Raises:
            InvalidRecent: they are of another format or length, or of a latent with another number of blocks.
        """
        if data is None:
            return cls(blocks)
        if len(data) < _HEADER.size:
            raise InvalidRecent(f"{len(data)} bytes")
        number, of_blocks, events, steps = _HEADER.unpack_from(data)
        liked, start = _unpacked_liked(data) if number == FORMAT_WITH_LIKED else ((), _HEADER.size)
        end = start + events * _EVENT.size
        known = number in {FORMAT, FORMAT_WITH_LIKED} and of_blocks == blocks
        if not known or len(data) < end or (len(data) - end) % _size_of(blocks):
            raise InvalidRecent(f"format {number}, {of_blocks} blocks, {events} events in {len(data)} bytes")
        return cls(blocks, steps, data[start:end], data[end:], liked)

    def to_bytes(self) -> bytes:
        """The bytes that are stored."""
        number = FORMAT_WITH_LIKED if self.liked else FORMAT
        header = _HEADER.pack(number, self.blocks, len(self.events) // _EVENT.size, self.steps)
        return header + _packed_liked(self.liked) + self.events + self.decisions

    def like(self, post_id: str, window: Window) -> None:
        """Remember a post as the one that was liked last, and drop those that are too many.

        An id of more than LONGEST_ID bytes is not remembered.
        """
        self.no_longer_like(post_id)
        if len(post_id.encode()) <= LONGEST_ID and window.liked:
            self.liked = (*self.liked, post_id)[-window.liked :]

    def no_longer_like(self, post_id: str) -> None:
        """Forget that a post was liked, if it was."""
        if post_id in self.liked:
            self.liked = tuple(liked for liked in self.liked if liked != post_id)

    def was_seen(self, digest: bytes, received_ms: int, window: Window) -> bool:
        """Whether an event is remembered that was received after `received_ms`, or at most a window before it."""
        at = _last(self.events, digest, _EVENT.size)
        return at >= 0 and _within(_time_at(self.events, at + _EVENT_TIME_AT), received_ms, window)

    def see(self, digest: bytes, received_ms: int, window: Window) -> None:
        """Remember an event, and drop those that are too old or too many."""
        events = self.events + _EVENT.pack(digest, seconds(received_ms))
        self.events = _pruned(events, _EVENT.size, _EVENT_TIME_AT, received_ms, window.events, window)

    def decision(self, key: int, received_ms: int, window: Window) -> RememberedDecision | None:
        """The decision under a key, unless it was received more than a window before `received_ms`; else None."""
        record = self._layout()
        at = _last(self.decisions, _KEY.pack(key), record.size)
        if at < 0 or not _within(_time_at(self.decisions, at + _DECISION_TIME_AT), received_ms, window):
            return None
        _, decided_at_ms, received_s, label, weight, step, *beliefs = record.unpack_from(self.decisions, at)
        return RememberedDecision(decided_at_ms, received_s, label, weight, step, tuple(beliefs))

    def decide(self, key: int, decision: RememberedDecision, window: Window) -> None:
        """Remember a decision in place of the one under the same key, and drop those that are too old or too many."""
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
    """The layout of a packed decision, by the number of blocks."""

    def __missing__(self, blocks: int) -> struct.Struct:
        self[blocks] = struct.Struct(f"<QqIffI{2 * blocks}f")
        return self[blocks]


_LAYOUTS: Final = _Layouts()


def liked_posts(data: bytes) -> tuple[str, ...]:
    """The liked posts among the stored bytes of a `Recent`, newest last.

    Raises:
        InvalidRecent: as `Recent.from_bytes` does.
    """
    if len(data) < _HEADER.size or data[0] not in {FORMAT, FORMAT_WITH_LIKED}:
        raise InvalidRecent(f"format {data[:1]!r} in {len(data)} bytes")
    return _unpacked_liked(data)[0] if data[0] == FORMAT_WITH_LIKED else ()


def _packed_liked(liked: tuple[str, ...]) -> bytes:
    """With their size before them; empty if there are none."""
    ids = [post_id.encode() for post_id in liked]
    packed = b"".join(_LIKED_SIZE.pack(len(post_id)) + post_id for post_id in ids)
    return _LIKED_SIZE.pack(len(packed)) + packed if packed else b""


def _unpacked_liked(data: bytes) -> tuple[tuple[str, ...], int]:
    """The liked posts in stored bytes, and where they end."""
    try:
        at = _HEADER.size + _LIKED_SIZE.size
        end = at + _LIKED_SIZE.unpack_from(data, _HEADER.size)[0]
        liked = []
        while at < end:
            start = at + _LIKED_SIZE.size
            at = start + _LIKED_SIZE.unpack_from(data, at)[0]
            liked.append(data[start:at].decode())
    except (struct.error, UnicodeDecodeError) as error:
        raise InvalidRecent(f"liked posts: {error}") from error
    if at != end or end > len(data):
        raise InvalidRecent(f"liked posts that end at {at}, not {end}, in {len(data)} bytes")
    return tuple(liked), end


def _size_of(blocks: int) -> int:
    return _LAYOUTS[blocks].size


def _last(packed: bytes, key: bytes, size: int) -> int:
    """Where the last of the packed records of `size` bytes that begins with the key starts; -1 if there is none."""
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
    """Packed records without the oldest beyond `most`, and without those before the window beyond FEWEST_KEPT."""
    count = len(packed) // size
    gone = max(0, count - most)
    while count - gone > FEWEST_KEPT and not _within(_time_at(packed, gone * size + time_at), now_ms, window):
        gone += 1
    return packed[gone * size :]
