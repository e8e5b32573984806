"""What Prometheus is told; served at `/metrics`."""

from typing import Final

from prometheus_client import Counter, Gauge

from collector.rejections import Reason
from slop.interaction_types import INTERACTION_TYPES
from slop.kafka.publisher import Publisher
from slop.kafka.topics import INTERACTIONS, POSTS

ACCEPTED: Final = Counter("slop_collector_accepted_total", "Items that Kafka has acknowledged", ["type"])
REJECTED: Final = Counter("slop_collector_rejected_total", "Items that were not valid", ["topic", "reason"])
WAITING: Final = Gauge("slop_collector_waiting_records", "Records taken that Kafka has not acknowledged")
CONNECTED: Final = Gauge("slop_collector_producer_connected", "1 where there is a working producer, else 0")
LOST_REPORTS: Final = Counter(
    "slop_collector_lost_reports_total", "Rejected items that could not be written to slop.rejected.v1"
)

for _type in (*INTERACTION_TYPES, "post"):
    ACCEPTED.labels(_type)
for _topic in (INTERACTIONS, POSTS):
    for _reason in Reason:
        REJECTED.labels(_topic.name, _reason)


def watch(publisher: Publisher) -> None:
    """Show the state of the way to Kafka."""
    WAITING.set_function(lambda: publisher.waiting)
    CONNECTED.set_function(lambda: publisher.connected)
