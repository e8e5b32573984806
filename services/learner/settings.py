"""Settings of the learner."""

from pydantic import Field

from slop.settings import LearningSettings


class LearnerSettings(LearningSettings):
    """The learner."""

    learner_port: int = Field(8012, ge=0, le=65_535, description="of /healthz, /readyz and /metrics")
    learner_batch: int = Field(1_000, ge=1, le=2_000, description="signals learned in one round trip, at most")
    learner_wait_s: float = Field(1.0, gt=0, le=5, description="for how long one poll waits for signals")
    learner_instance: str = Field("", description="name of this replica, if it keeps one: restarts rejoin at once")
    learner_redis_timeout_s: float = Field(5.0, gt=0, description="for the round trip of a whole batch")
