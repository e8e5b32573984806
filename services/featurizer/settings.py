"""Settings of the featurizer."""

from pydantic import Field, field_validator

from featurizer.budget import BatchLimits
from slop.redis.parking import Bounds
from slop.rewards import Rewards
from slop.settings import EmbedderSettings


class FeaturizerSettings(EmbedderSettings):
    """The featurizer."""

    featurizer_port: int = Field(8011, ge=0, le=65_535, description="of /healthz, /readyz, /metrics and /v1/features")
    featurizer_batch: int = Field(256, ge=1, le=2_000, description="interactions turned into signals at once, at most")
    featurizer_posts: int = Field(16, ge=1, le=256, description="posts whose features are computed between two commits")
    featurizer_wait_s: float = Field(1.0, gt=0, le=5, description="for how long one poll waits for records")
    featurizer_instance: str = Field("", description="name of this replica, if it keeps one: restarts rejoin at once")
    featurizer_redis_timeout_s: float = Field(5.0, gt=0, description="for one round trip")
    featurizer_cached_posts: int = Field(20_000, ge=1, description="texts whose features are kept in memory")
    featurizer_inline_posts: int = Field(
        4,
        ge=0,
        description="posts without features that a batch of interactions waits for; the rest is parked",
    )
    featurizer_inline_posts_of_reader: int = Field(2, ge=0, description="the same, for one reader's interactions")
    featurizer_late_s: float = Field(
        60.0,
        gt=0,
        description="older interactions wait for all posts that they need: the log is being caught up with",
    )
    featurizer_parked: int = Field(50_000, ge=0, description="interactions that are parked until their post comes")
    featurizer_parked_of_post: int = Field(10_000, ge=0, description="the same, with one post")
    featurizer_parked_of_reader: int = Field(1_000, ge=0, description="the same, of one reader")
    featurizer_parking_s: int = Field(24 * 3600, gt=0, description="for how long, from when they were received")
    featurizer_parking_look_s: float = Field(1.0, gt=0, description="pause between two looks at what is parked")
    featurizer_asked_texts: int = Field(
        2_000, ge=500, description="texts of rank requests that wait for features; more are refused with Retry-After"
    )
    reward_weights: dict[str, float] = Field(
        default_factory=dict, description='signals that weigh something else, {"share": 2}; see slop.rewards'
    )
    featurizer_threads: int = Field(0, ge=0, description="computing at a time; 0: one a core, 4 at most")

    @field_validator("reward_weights")
    @classmethod
    def _of_known_signals(cls, weights: dict[str, float]) -> dict[str, float]:
        Rewards.of(weights)
        return weights

    def parking_bounds(self) -> Bounds:
        """How much may be parked."""
        return Bounds(
            of_post=self.featurizer_parked_of_post,
            of_reader=self.featurizer_parked_of_reader,
            in_all=self.featurizer_parked,
            expiry_ms=1_000 * self.featurizer_parking_s,
        )

    def batch_limits(self) -> BatchLimits:
        """What one batch of interactions may take."""
        return BatchLimits(
            posts=self.featurizer_inline_posts,
            posts_of_reader=self.featurizer_inline_posts_of_reader,
            late_ms=round(1_000 * self.featurizer_late_s),
        )
