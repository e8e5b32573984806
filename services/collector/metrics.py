"""What Prometheus is told; served at `/metrics`."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from slop.publisher import Publisher

ACCEPTED: Final = Counter("slop_collector_accepted_total", "Items that Kafka has acknowledged", ["type"])
REJECTED: Final = Counter("slop_collector_rejected_total", "Items that were not valid", ["topic", "reason"])
REQUEST_SECONDS: Final = Histogram(
    "slop_collector_request_seconds",
    "From the request to the answer, the body's arrival and Kafka's acknowledgement included",
    ["path", "status"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
WAITING: Final = Gauge("slop_collector_waiting_records", "Records taken that Kafka has not acknowledged")
CONNECTED: Final = Gauge("slop_collector_producer_connected", "1 where there is a working producer, else 0")
LOST_REPORTS: Final = Counter(
    "slop_collector_lost_reports_total", "Rejected items that could not be written to slop.rejected.v1"
)


def watch(publisher: Publisher) -> None:
    """Show the state of the way to Kafka."""
    WAITING.set_function(lambda: publisher.waiting)
    CONNECTED.set_function(lambda: publisher.connected)
