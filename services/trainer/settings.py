"""Settings of the trainer's workers."""

from pydantic import Field, field_validator

from slop.rewards import Rewards
from slop.settings import CommonSettings, LearningSettings


class LearnerSettings(LearningSettings):
    """The learner."""

    learner_port: int = Field(8012, ge=0, le=65_535, description="of /healthz, /readyz and /metrics")
    learner_batch: int = Field(1_000, ge=1, le=2_000, description="signals learned in one round trip, at most")
    learner_wait_s: float = Field(0.5, gt=0, le=5, description="for how long one poll waits for signals")
    learner_instance: str = Field("", description="name of this replica, if it keeps one: restarts rejoin at once")
    learner_redis_timeout_s: float = Field(5.0, gt=0, description="for the round trip of a whole batch")


class FeaturizerSettings(CommonSettings):
    """The featurizer."""

    featurizer_port: int = Field(8011, ge=0, le=65_535, description="of /healthz, /readyz, /metrics and /v1/features")
    featurizer_batch: int = Field(256, ge=1, le=2_000, description="interactions turned into signals at once, at most")
    featurizer_posts: int = Field(16, ge=1, le=256, description="posts whose features are computed between two commits")
    featurizer_wait_s: float = Field(0.2, gt=0, le=5, description="for how long one poll waits for records")
    featurizer_instance: str = Field("", description="name of this replica, if it keeps one: restarts rejoin at once")
    featurizer_redis_timeout_s: float = Field(5.0, gt=0, description="for one round trip")
    featurizer_cached_posts: int = Field(20_000, ge=1, description="posts whose features are kept in memory")
    featurizer_post_wait_s: float = Field(5.0, ge=0, description="for how long a batch waits for posts not yet known")
    reward_weights: dict[str, float] = Field(
        default_factory=dict, description='signals that weigh something else, {"share": 2}; see slop.rewards'
    )
    model: str = Field(..., description="folder or hub name of the base model")
    device: str = Field("", description="cpu, cuda, …; empty: a GPU if there is one")
    featurizer_threads: int = Field(0, ge=0, description="posts computed at a time on a CPU; 0: one a core, 4 at most")

    @field_validator("reward_weights")
    @classmethod
    def _of_known_signals(cls, weights: dict[str, float]) -> dict[str, float]:
        Rewards.of(weights)
        return weights
