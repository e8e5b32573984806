"""Records as they are consumed, and as they are published; named as Kafka's own clients do."""

from dataclasses import dataclass
from typing import Protocol

from slop.kafka.topics import Topic


class ConsumerRecord(Protocol):
    """What is consumed."""

    @property
    def topic(self) -> str: ...  # noqa: D102
    @property
    def partition(self) -> int: ...  # noqa: D102
    @property
    def offset(self) -> int: ...  # noqa: D102
    @property
    def key(self) -> bytes | None: ...  # noqa: D102
    @property
    def value(self) -> bytes | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class ProducerRecord:
    """What is published: the topic, the key that orders it, and the value."""

    topic: Topic
    key: bytes | None
    value: bytes
