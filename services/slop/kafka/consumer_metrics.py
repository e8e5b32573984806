"""Metrics of this process as a member of consumer groups, by group and topic."""

from collections.abc import Iterable
from typing import Final

from prometheus_client import Counter, Gauge

LAG_RECORDS: Final = Gauge(
    "slop_consumer_lag_records",
    "Records up to the end of the log that this process has not done with, over its partitions.",
    ["group", "topic"],
)
UNCOMMITTED_RECORDS: Final = Gauge(
    "slop_consumer_uncommitted_records",
    "Records that this process has done with and whose offsets are not committed yet, over its partitions.",
    ["group", "topic"],
)
SKIPPED_RECORDS: Final = Counter(
    "slop_consumer_skipped_records",
    "Records that were deleted before the group had read them: it was behind the topic's retention.",
    ["group", "topic"],
)
REWINDS: Final = Counter(
    "slop_consumer_rewinds",
    "Partitions that were set back: the log is another one (log), or Redis has lost what it was told (redis).",
    ["group", "topic", "reason"],
)
REASONS: Final = ("log", "redis")


def begin_series(group: str, topics: Iterable[str]) -> None:
    """Have the series of a group exist before anything happens; `topics` are names."""
    for topic in topics:
        for metric in (LAG_RECORDS, UNCOMMITTED_RECORDS, SKIPPED_RECORDS):
            metric.labels(group, topic)
        for reason in REASONS:
            REWINDS.labels(group, topic, reason)
