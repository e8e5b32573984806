"""What becomes of an interaction in the featurizer: a signal, a rejected record, or neither of them."""

import json
from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from typing import Final, NamedTuple

import structlog

from slop.kafka.dead_letters import rejected
from slop.kafka.records import ConsumerRecord
from slop.redis.parked import Parked
from slop.redis.posts import PostRef
from slop.v1.interaction_pb2 import Interaction, Rejected
from slop.v1.signal_pb2 import Signal

SERVICE: Final = "featurizer"

log = structlog.get_logger(__name__)


class Unsignalled(StrEnum):
    """What becomes of an interaction that is neither a signal nor rejected."""

    SILENT = "silent"  # it has no reward and withdraws nothing
    PARKED = "parked"  # it waits for its post
    PASSED = "passed"  # it would be parked if the basis were live; the lane of the live basis publishes it again


Result = Signal | Rejected | Unsignalled


class Enriched:
    """What becomes of a batch of interactions.

    Attributes:
        signals: in the order of their interactions.
        rejected: of interactions that can't be used, in the order of these.
        unsignalled: how many of the others are silent, parked and passed.
    """

    def __init__(self, results: Iterable[Result]) -> None:
        """From the result of each interaction, in order."""
        self.signals: list[Signal] = []
        self.rejected: list[Rejected] = []
        self.unsignalled: Counter[Unsignalled] = Counter()
        for result in results:
            if isinstance(result, Signal):
                self.signals.append(result)
            elif isinstance(result, Rejected):
                self.rejected.append(result)
            else:
                self.unsignalled[result] += 1


class Item(NamedTuple):
    """An interaction and its record."""

    record: ConsumerRecord
    interaction: Interaction

    @property
    def post(self) -> PostRef:
        """The post of the interaction."""
        return PostRef(self.interaction.tenant, self.interaction.post_id)


def to_park(item: Item) -> Parked:
    """An interaction, ready to be parked. The text that it may have come with is left out, since that is stored."""
    slim = Interaction()
    slim.CopyFrom(item.interaction)
    slim.ClearField("post_text")
    expired = unknown_post(item)
    expired.payload = slim.SerializeToString(deterministic=True)
    return Parked.of(slim, expired, item.record.value or b"")


def unknown_post(item: Item) -> Rejected:
    """An interaction, rejected since its post has no text."""
    return rejected(item.record, "unknown_post", f"no text for {named(item)}", SERVICE)


def failed_interaction(record: ConsumerRecord, error: Exception) -> Rejected:
    """A record, rejected since an exception was raised over it."""
    log.warning("interaction failed", partition=record.partition, offset=record.offset, error=repr(error))
    return rejected(record, "failed", f"{type(error).__name__}: {error}", SERVICE)


def named(item: Item) -> str:
    """The post of an interaction, for people."""
    return f"post {json.dumps(item.interaction.post_id)}"
