"""The metrics of the generation service."""

from collections.abc import Callable
from enum import StrEnum
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from generation.contracts import Reason
from slop.arms import Arm
from slop.kafka.groups import Groups
from slop.kafka.publisher import Publisher

_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64)

POSTS: Final = Counter(
    "slop_generated_posts", "Posts written, by arm and by why they are personal or not.", ["arm", "reason"]
)
COMPOSED: Final = Counter("slop_composed_posts", "Of the posts written, those under a style and a subject at once.")
EXPLORED: Final = Counter(
    "slop_explored_posts", "Of the posts written, those under a prompt that the reader may like, to find out."
)
CHOSEN: Final = Counter(
    "slop_chosen_requests",
    "Requests with more candidates than posts, by which were served: best, by the reader's taste; first, those that "
    "came first, because the featurizer did not read them in time.",
    ["served"],
)
REWRITTEN: Final = Counter(
    "slop_rewritten_posts", "Drafts that nearly copied a known post or were empty: written again."
)
SERVED_UNKNOWN: Final = Counter(
    "slop_served_unknown",
    "Times that Redis could not tell, or remember, what a reader was served: posts may come twice.",
)
GENERATE_SECONDS: Final = Histogram("slop_generate_seconds", "From a request to its last token.", buckets=_SECONDS)
FIRST_TOKEN_SECONDS: Final = Histogram(
    "slop_first_token_seconds", "From a streamed request to its first token.", buckets=_SECONDS
)
RANK_SECONDS: Final = Histogram("slop_rank_seconds", "From a rank request to its scores.")
ROW_NORM: Final = Histogram(
    "slop_soft_prompt_row_norm",
    "The largest row norm of each soft prompt that a request to the engine begins with.",
    buckets=(0.5, 1, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 8, 12, 20),
)
DISTINCT2: Final = Gauge(
    "slop_generated_distinct2",
    "Variety: different word pairs by all word pairs of an arm's last 200 posts; 0 before the first.",
    ["arm"],
)
FEED_POSTS: Final = Counter(
    "slop_feed_posts", "Posts of the feed: written ahead (queue), or while the reader waited (live).", ["source"]
)
FEED_SECONDS: Final = Histogram(
    "slop_feed_seconds",
    "From a request for posts of the feed to its answer, by whether all were written ahead (queue) or not (live).",
    ["source"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1, 4, 16, 64),
)
UNPUBLISHED: Final = Counter("slop_unpublished_posts", "Generated posts that did not reach Kafka.")
UNSTORED: Final = Counter(
    "slop_untold_posts", "Generated posts whose text Redis did not take in time; the featurizer has it from Kafka."
)
PUBLISHING: Final = Gauge("slop_publishing_posts", "Generated posts that Kafka has not acknowledged yet.")

LIVE_GROUP: Final = Gauge("slop_live_group", "1 for each consumer group that learns under the live basis.", ["group"])


class Refusal(StrEnum):
    """Why a request to write was refused, or was not answered in time."""

    CALLER = "caller"
    OVERLOADED = "overloaded"
    TOO_LONG = "too_long"
    DEADLINE = "deadline"


REFUSED: Final = Counter(
    "slop_refused_requests",
    "Requests to write that were refused: caller, too much for one reader, key or address; overloaded, no turn came; "
    "too_long for the model; deadline, not written in time.",
    ["reason"],
)
CALLERS_GONE: Final = Counter("slop_callers_gone", "Requests whose caller left before the answer was complete.")
CUT: Final = Counter("slop_cut_posts", "Streamed posts that were ended early, where they began to copy a known post.")

for _source in ("queue", "live"):
    FEED_POSTS.labels(_source)
    FEED_SECONDS.labels(_source)
for _served in ("best", "first"):
    CHOSEN.labels(_served)
for _refusal in Refusal:
    REFUSED.labels(_refusal)
for _arm in Arm:
    DISTINCT2.labels(_arm)
    for _reason in Reason:
        POSTS.labels(_arm, _reason)

ENGINE_UP: Final = Gauge("slop_engine_up", "1 for each engine that writes and takes the soft prompts.", ["engine"])
ENGINE_REQUESTS: Final = Gauge("slop_engine_requests", "Requests at each engine that wait for tokens.", ["engine"])
ENGINE_FAILURES: Final = Counter(
    "slop_engine_failures",
    "Requests that an engine failed before their first token; they went to the next engine where there is one.",
    ["engine"],
)


def show_live(groups: Groups) -> None:
    """Show the consumer groups of the live basis: readers wait for what these learn, and for no other group."""
    LIVE_GROUP.clear()
    for group, _ in groups.read():
        LIVE_GROUP.labels(group).set(1)


def watch_engine(name: str, is_up: Callable[[], bool], requests: Callable[[], int]) -> None:
    """Show how an engine is doing, under its host and port."""
    ENGINE_UP.labels(name).set_function(lambda: float(is_up()))
    ENGINE_REQUESTS.labels(name).set_function(requests)
    ENGINE_FAILURES.labels(name)


def watch(publisher: Publisher) -> None:
    """Show how many posts wait for Kafka's acknowledgement."""
    PUBLISHING.set_function(lambda: publisher.waiting)
