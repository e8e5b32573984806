"""Settings of the learner."""

from pydantic import Field

from slop.settings import LearningSettings


class LearnerSettings(LearningSettings):
    """The learner."""

    learner_port: int = Field(8012, ge=0, le=65_535, description="port of /healthz, /readyz and /metrics")
    learner_batch: int = Field(1_000, ge=1, le=2_000, description="signals learned in one round trip, at most")
    learner_wait_s: float = Field(1.0, gt=0, le=5, description="how long one poll waits for signals")
    learner_instance: str = Field(
        "",
        description="a name that this replica keeps over restarts, so that it has its partitions back at once; no "
        "two may have the same",
    )
    learner_redis_timeout_s: float = Field(5.0, gt=0, description="how long the round trip of a whole batch may take")
