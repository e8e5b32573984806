"""Settings of the featurizer."""

from pydantic import Field, field_validator

from featurizer.budget import BatchLimits
from slop.redis.parking import ParkingLimits
from slop.redis.served import Remembered
from slop.rewards import Rewards
from slop.settings import EmbedderSettings


class FeaturizerSettings(EmbedderSettings):
    """The featurizer."""

    featurizer_port: int = Field(
        8011, ge=0, le=65_535, description="port of /healthz, /readyz, /metrics and /v1/features"
    )
    featurizer_batch: int = Field(256, ge=1, le=2_000, description="interactions turned into signals at once, at most")
    featurizer_posts: int = Field(16, ge=1, le=256, description="posts whose features are computed between two commits")
    featurizer_wait_s: float = Field(1.0, gt=0, le=5, description="how long one poll waits for records")
    featurizer_instance: str = Field(
        "",
        description="a name that this replica keeps over restarts, so that it has its partitions back at once; no "
        "two may have the same",
    )
    featurizer_redis_timeout_s: float = Field(5.0, gt=0, description="how long one round trip to Redis may take")
    featurizer_cached_posts: int = Field(20_000, ge=1, description="texts whose features are kept in memory")
    featurizer_inline_posts: int = Field(
        4,
        ge=0,
        description="posts without features that a batch of interactions waits for; the rest is parked",
    )
    featurizer_inline_posts_of_reader: int = Field(2, ge=0, description="the same, of one reader's interactions")
    featurizer_late_s: float = Field(
        60.0,
        gt=0,
        description="interactions older than this wait for all posts that they need: the log is being caught up with",
    )
    featurizer_parked: int = Field(50_000, ge=0, description="interactions that may be parked until their posts come")
    featurizer_parked_of_post: int = Field(10_000, ge=0, description="interactions that may be parked with one post")
    featurizer_parked_of_reader: int = Field(1_000, ge=0, description="interactions of one reader that may be parked")
    featurizer_parking_s: int = Field(
        24 * 3600, gt=0, description="how long an interaction may be parked, from when it was received"
    )
    featurizer_parking_look_s: float = Field(1.0, gt=0, description="pause between two looks at what is parked")
    featurizer_asked_texts: int = Field(
        2_000,
        ge=500,
        description="texts of rank requests that may wait for features; more are refused with Retry-After",
    )
    featurizer_seen_posts: int = Field(
        128,
        ge=0,
        le=4_096,
        description="how many of the posts that a reader has seen last are not written for this reader again, 6 bytes "
        "each in Redis; 0: none",
    )
    featurizer_seen_ttl_s: int = Field(
        14 * 24 * 3600, gt=0, description="how long after the last one these are remembered"
    )
    reward_weights: dict[str, float] = Field(
        default_factory=dict,
        description='signals that weigh something else than by default, say {"share": 2}; docs/api.md has the table',
    )
    featurizer_threads: int = Field(0, ge=0, description="texts computed at a time; 0: one a core, 4 at most")

    @field_validator("reward_weights")
    @classmethod
    def _of_known_signals(cls, weights: dict[str, float]) -> dict[str, float]:
        Rewards.of(weights)
        return weights

    def remembered(self) -> Remembered:
        """How much is remembered of what a reader has seen."""
        return Remembered(self.featurizer_seen_posts, self.featurizer_seen_ttl_s)

    def parking_bounds(self) -> ParkingLimits:
        """The limits on parking."""
        return ParkingLimits(
            of_post=self.featurizer_parked_of_post,
            of_reader=self.featurizer_parked_of_reader,
            in_all=self.featurizer_parked,
            expiry_ms=1_000 * self.featurizer_parking_s,
        )

    def batch_limits(self) -> BatchLimits:
        """The limits on what is computed for one batch of interactions."""
        return BatchLimits(
            posts=self.featurizer_inline_posts,
            posts_of_reader=self.featurizer_inline_posts_of_reader,
            late_ms=round(1_000 * self.featurizer_late_s),
        )
