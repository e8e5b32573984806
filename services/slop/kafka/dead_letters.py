"""Records that can't be processed: they go to slop.rejected.v1, whole and with the reason, and the worker goes on."""

import time
from typing import Final

from slop.kafka.records import ConsumerRecord
from slop.v1.interaction_pb2 import Rejected

MAX_DETAIL: Final = 300
MAX_PAYLOAD: Final = 900_000  # brokers take a megabyte


def rejected(record: ConsumerRecord, reason: str, detail: str, service: str) -> Rejected:
    """What is published of a record that can't be processed.

    Args:
        record: as it was consumed.
        reason: stable and machine-readable, such as `not_protobuf`; a label of metrics.
        detail: what is wrong with it, for people; at most MAX_DETAIL characters are kept.
        service: which one rejects it.

    Returns:
        The record and the reason. Of its value, MAX_PAYLOAD bytes are kept: with more, no broker would take it.
    """
    return Rejected(
        reason=reason,
        detail=detail[:MAX_DETAIL],
        source_topic=record.topic,
        payload=(record.value or b"")[:MAX_PAYLOAD],
        rejected_at_ms=time.time_ns() // 1_000_000,
        key=record.key,
        source_partition=record.partition,
        source_offset=record.offset,
        service=service,
    )
