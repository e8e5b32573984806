"""The metrics of the featurizer."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

INTERACTIONS: Final = Counter(
    "slop_featurizer_interactions",
    "Interactions by what became of them: signal, silent, rejected or parked.",
    ["outcome"],
)
BATCH_SECONDS: Final = Histogram(
    "slop_featurizer_batch_seconds",
    "From a batch of interactions to its signals' acknowledgement.",
    buckets=(0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
)
LOOKUPS: Final = Counter(
    "slop_featurizer_lookups",
    "Interactions by whether their post's features were there (hit) or not yet (miss).",
    ["result"],
)
PARKED: Final = Gauge("slop_featurizer_parked", "Interactions that wait for their post, over all processes.")
PARKED_LIMIT: Final = Gauge("slop_featurizer_parked_limit", "How many may wait; more are rejected.")
PARKING: Final = Counter(
    "slop_featurizer_parking",
    "Interactions by what parking did: parked, redelivered, expired, or refused where there is no room.",
    ["outcome"],
)
POSTS: Final = Counter(
    "slop_featurizer_posts",
    "Posts from the topic: computed, known before, or broken; passed: nobody asks for them, they are old or the basis "
    "is not live.",
    ["outcome"],
)
BATCH_POSTS: Final = Histogram(
    "slop_featurizer_batch_posts",
    "Posts whose features are computed in one go.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
TEXTS: Final = Counter(
    "slop_featurizer_texts",
    "Texts by whether their features were in memory (remembered), computed, or can't be (failed).",
    ["outcome"],
)
POST_SECONDS: Final = Histogram(
    "slop_featurizer_post_seconds",
    "Time to compute one post's features.",
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
)
REQUESTED_TEXTS: Final = Counter(
    "slop_featurizer_asked_texts",
    "Texts of requests: answered, refused because too many wait, or left by a caller that has gone.",
    ["outcome"],
)
REQUESTED_TEXTS_WAITING: Final = Gauge(
    "slop_featurizer_asked_texts_waiting", "Texts of requests that wait for their features."
)

for _counter, _outcomes in (
    (INTERACTIONS, ("signal", "silent", "rejected", "parked")),
    (LOOKUPS, ("hit", "miss")),
    (PARKING, ("parked", "redelivered", "expired", "refused")),
    (POSTS, ("computed", "known", "broken", "passed")),
    (TEXTS, ("remembered", "computed", "failed")),
    (REQUESTED_TEXTS, ("answered", "refused", "left")),
):
    for _outcome in _outcomes:
        _counter.labels(_outcome)
