"""What Prometheus sees of the generation service."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from slop.publisher import Publisher

_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64)

POSTS: Final = Counter(
    "slop_generated_posts", "Posts written, by arm and by why they are personal or not.", ["arm", "reason"]
)
GENERATE_SECONDS: Final = Histogram("slop_generate_seconds", "From a request to its last token.", buckets=_SECONDS)
FIRST_TOKEN_SECONDS: Final = Histogram(
    "slop_first_token_seconds", "From a streamed request to its first token.", buckets=_SECONDS
)
RANK_SECONDS: Final = Histogram("slop_rank_seconds", "From a rank request to its scores.")
UNPUBLISHED: Final = Counter("slop_unpublished_posts", "Generated posts that did not reach Kafka.")
PUBLISHING: Final = Gauge("slop_publishing_posts", "Generated posts that Kafka has not acknowledged yet.")


def watch(publisher: Publisher) -> None:
    """Show how many posts wait for Kafka."""
    PUBLISHING.set_function(lambda: publisher.waiting)
