"""Settings of the collector. The limits of the wire itself are constants in `collector.fields` and `collector.wire`."""

from typing import Annotated

from pydantic import Field

from slop.settings import CommonSettings, FormerNames


class CollectorSettings(CommonSettings):
    """Read from the environment; `collector_port` is `SLOP_COLLECTOR_PORT`, and so on."""

    collector_port: int = Field(8001, ge=1, le=65_535, description="port that the collector listens on")
    collector_queue_bytes: int = Field(
        64 * 1024**2,
        ge=4 * 1024**2,
        description="records taken and not yet acknowledged by Kafka, with 1 KB of overhead each; beyond it 429",
    )
    collector_ack_timeout_s: float = Field(
        5.0, ge=0.5, description="how long a request waits for Kafka's acknowledgement before it gets 503"
    )
    collector_max_block_ms: int = Field(
        300, gt=0, description="how long the producer thread may be held up by missing topic metadata"
    )
    collector_linger_ms: int = Field(
        5, ge=0, le=100, description="how long Kafka's producer waits for more records to a batch"
    )
    collector_reconnect_s: float = Field(0.5, gt=0, description="pause between attempts to reach Kafka")
    collector_retry_after_s: int = Field(1, ge=1, description="Retry-After of 429 and 503 answers")
    collector_body_bytes: Annotated[int, FormerNames.of("SLOP_COLLECTOR_BODY_LIMIT")] = Field(
        512 * 1024, gt=0, description="largest request body, bytes; beyond it 413"
    )
    collector_body_timeout_s: float = Field(10.0, gt=0, description="how long a body may take to arrive")
    collector_shutdown_s: float = Field(
        10.0, gt=0, description="how long running requests, and then the producer, may take to finish at shutdown"
    )
