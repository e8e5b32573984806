"""Settings of the local run, from the environment or `.env`; `.env.example` lists them."""

from pathlib import Path

from pydantic import Field

from infra.engine.settings import EngineSettings, address
from slop.settings import CommonSettings

ROOT = Path(__file__).resolve().parents[2]
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class LocalSettings(CommonSettings, EngineSettings):
    """What is started on this machine, and where it listens."""

    collector_port: int = Field(8001, description="of the collector")
    generation_port: int = Field(8002, description="of generation")
    featurizer_port: int = Field(8011, description="of the featurizer's health and metrics")
    learner_port: int = Field(8012, description="of the learner's health and metrics")
    worker_port: int = Field(8013, description="of the jobs worker's health and metrics")
    beat_port: int = Field(8014, description="of the health of beat, which sends periodic jobs")

    kafka_home: Path | None = Field(
        None, validation_alias="KAFKA_HOME", description="an unpacked Apache Kafka to run instead of Tansu"
    )
    kafka_controller_port: int = Field(9093, description="port of Apache Kafka's controller")

    run_dir: Path = Field(ROOT / ".run", description="logs, and the data of Redis and Apache Kafka")
    start_timeout_s: float = Field(600.0, gt=0, description="how long everything may take to be ready")

    @property
    def redis_address(self) -> tuple[str, int]:
        """Host and port of Redis."""
        return address(self.redis_url, 6379)

    @property
    def kafka_address(self) -> tuple[str, int]:
        """Host and port of the first broker."""
        return address(f"kafka://{self.kafka_bootstrap.split(',')[0]}", 9092)

    @property
    def durable(self) -> bool:
        """Whether the log outlives this run; Redis is kept on disk only then.

        Tansu's offsets begin at 0 again with every start, and a profile refuses offsets that are not newer than its
        own: profiles that outlived the log would never learn again.
        """
        return self.kafka_home is not None or self.kafka_address[0] not in LOOPBACK
