"""The topic slop.rejected.v1 for people: read from its end back or by id, and published again where possible."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, NamedTuple, Self

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from kafka.structs import TopicPartition

from slop.kafka.log import log_reader
from slop.kafka.outbox import Outbox
from slop.kafka.records import ProducerRecord
from slop.kafka.topics import INTERACTIONS, POSTS, REJECTED, SIGNALS
from slop.settings import CommonSettings
from slop.v1.interaction_pb2 import Interaction, Rejected
from slop.v1.post_pb2 import Post
from slop.v1.signal_pb2 import Signal

BLOCK: Final = 1_000
POLL_MS: Final = 300
MOST_EMPTY_POLLS: Final = 30

_MESSAGES: Final[dict[str, Any]] = {INTERACTIONS.name: Interaction, POSTS.name: Post, SIGNALS.name: Signal}
_TOPICS: Final = {topic.name: topic for topic in (INTERACTIONS, POSTS, SIGNALS)}


class LetterId(NamedTuple):
    """Where a dead letter is in slop.rejected.v1; written as `partition-offset`."""

    partition: int
    offset: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one.

        Raises:
            ValueError: it is not `partition-offset`.
        """
        partition, dash, offset = text.partition("-")
        if not (dash and partition.isdecimal() and offset.isdecimal()):
            raise ValueError(f"{text!r} is no id: it should be as 0-17, partition and offset in {REJECTED.name}")
        return cls(int(partition), int(offset))

    def __str__(self) -> str:
        return f"{self.partition}-{self.offset}"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that could not be used, and why."""

    id: LetterId
    rejected: Rejected

    @property
    def was_record(self) -> bool:
        """Whether it was in the log; else a client sent it, and it never was published."""
        return self.rejected.HasField("source_offset")

    @property
    def obstacle(self) -> str:
        """Why it can't be published again; empty where it can."""
        if not self.was_record:
            return "it was not valid when a client sent it, and never was a record: the client has to send it anew"
        if self.rejected.source_topic not in _MESSAGES:
            return f"there is no topic {self.rejected.source_topic!r}"
        return "" if self.rejected.payload else "the record was empty"

    def payload(self) -> Any:
        """What was rejected, for JSON: a message's fields, the client's JSON, else text, else bytes in hex."""
        data = self.rejected.payload
        message = _MESSAGES.get(self.rejected.source_topic) if self.was_record else None
        try:
            if message is not None:
                return MessageToDict(message.FromString(data), preserving_proto_field_name=True)
            return json.loads(data)
        except DecodeError:
            return {"hex": data.hex()}
        except (ValueError, RecursionError):  # the collector keeps the beginning of what is long
            return _text(data)


def _text(data: bytes) -> Any:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"hex": data.hex()}


class DeadLetters:
    """Reads slop.rejected.v1 without being a member of any group, and publishes again."""

    def __init__(self, settings: CommonSettings) -> None:
        """Connects.

        Raises:
            kafka.errors.KafkaError: the brokers are away, here and below.
        """
        self._settings, self._consumer = settings, log_reader(settings)

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()

    def newest(self, most: int) -> Iterator[DeadLetter]:
        """The letters from the newest back, `most` of each partition at most, a partition after the other."""
        for number in sorted(self._consumer.partitions_for_topic(REJECTED.name) or ()):
            yield from self._backwards(TopicPartition(REJECTED.name, number), most)

    def find(self, asked: LetterId) -> DeadLetter | None:
        """The letter with an id; None if it is not there, or not any more."""
        if asked.partition not in (self._consumer.partitions_for_topic(REJECTED.name) or ()):
            return None
        record = self._record(TopicPartition(REJECTED.name, asked.partition), asked.offset)
        return None if record is None else _letter(record)

    def _backwards(self, at: TopicPartition, most: int) -> Iterator[DeadLetter]:
        self._consumer.assign([at])
        end = self._end(at)
        first = max(self._consumer.beginning_offsets([at])[at], end - most)
        while end > first:
            begin = max(first, end - BLOCK)
            yield from map(_letter, reversed(self._between(at, begin, end)))
            end = begin

    def _end(self, at: TopicPartition) -> int:
        """One past the newest record; Tansu leaves out the end of the last batch until it is read."""
        self._consumer.seek(at, self._consumer.end_offsets([at])[at])
        while self._consumer.poll(POLL_MS, max_records=BLOCK):
            pass
        return int(self._consumer.position(at))

    def replay(self, letters: Sequence[DeadLetter]) -> int:
        """Publish letters without an obstacle again, oldest first, each under its key in the topic where it was.

        It may be repeated: the ids of learned events are remembered, and no event is learned twice. A signal would be
        passed over, since its profile has applied later offsets; its interaction is published instead, where the log
        still has it.

        Returns:
            How many were acknowledged.
        """
        records = [self._origin(letter.rejected) for letter in sorted(letters, key=lambda letter: letter.id)]
        outbox = Outbox(self._settings)
        try:
            outbox.publish(records)
        finally:
            outbox.close()
        return len(records)

    def _origin(self, rejected: Rejected) -> ProducerRecord:
        """The record to publish for a dead letter."""
        if rejected.source_topic == SIGNALS.name and (interaction := self._interaction(rejected.payload)):
            return ProducerRecord(INTERACTIONS, interaction.key, interaction.value)
        key = rejected.key if rejected.HasField("key") else None
        return ProducerRecord(_TOPICS[rejected.source_topic], key, rejected.payload)

    def _interaction(self, signal_bytes: bytes) -> Any:
        """The record of a signal's interaction; None if the bytes are broken, or another record is there now."""
        try:
            signal = Signal.FromString(signal_bytes)
        except DecodeError:
            return None
        source = signal.source
        if source.partition not in (self._consumer.partitions_for_topic(INTERACTIONS.name) or ()):
            return None
        record = self._record(TopicPartition(INTERACTIONS.name, source.partition), source.offset)
        return record if record is not None and _is_of(record.value, signal) else None

    def _record(self, at: TopicPartition, offset: int) -> Any:
        self._consumer.assign([at])
        if offset < self._consumer.beginning_offsets([at])[at]:
            return None
        if offset >= self._consumer.end_offsets([at])[at] and offset >= self._end(at):
            return None
        return next(iter(self._between(at, offset, offset + 1)), None)

    def _between(self, at: TopicPartition, begin: int, end: int) -> list[Any]:
        """The records from one offset up to another; fewer if the broker gives nothing for long."""
        self._consumer.seek(at, begin)
        found: list[Any] = []
        empty = 0
        while self._consumer.position(at) < end and empty < MOST_EMPTY_POLLS:
            records = list(chain.from_iterable(self._consumer.poll(POLL_MS, max_records=BLOCK).values()))
            empty = 0 if records else empty + 1
            found += [record for record in records if record.offset < end]
        return found


def _is_of(value: bytes | None, signal: Signal) -> bool:
    """Whether a record is the interaction of a signal."""
    try:
        interaction = Interaction.FromString(value or b"")
    except DecodeError:
        return False
    names = ("event_id", "tenant", "user_id", "post_id")
    return all(getattr(interaction, name) == getattr(signal, name) for name in names)


def _letter(record: Any) -> DeadLetter:
    at = LetterId(record.partition, record.offset)
    try:
        return DeadLetter(at, Rejected.FromString(record.value or b""))
    except DecodeError as error:
        return DeadLetter(at, Rejected(reason="not_protobuf", detail=str(error), payload=record.value or b""))
