"""`python -m featurizer`: makes the signals of slop.signals.v1 from slop.interactions.v1 and slop.posts.v1.

For each basis that is followed there is a lane (`slop.rollout.lanes`) with four threads:

- "interactions" joins interactions with the features of their posts, and parks those whose post is not ready.
- "texts" stores the texts of posts as they come.
- "posts" computes the features of posts in the background, before anybody reacts to them.
- "parking" publishes parked interactions again when their post has come.

They wait for nothing but Redis and Kafka. Each commits its offsets after its work is in Redis or acknowledged by Kafka.
"""

import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import structlog
from redis import Redis

from featurizer.api import FeatureRequests, features_router
from featurizer.enrichment import Enricher
from featurizer.new_posts import BackgroundFeatures
from featurizer.post_features import PostFeatures, RequestedText
from featurizer.post_texts import ReactedPosts, TextsRead, TextStore
from featurizer.priority import PrioritySemaphore
from featurizer.settings import FeaturizerSettings
from featurizer.text_features import TextFeatures
from featurizer.workers import ParkingWorker, PostWorker, SignalWorker
from kit.worker import health_server, in_thread
from slop.basis import Basis
from slop.embedder import Embedder
from slop.encoder import Encoder
from slop.kafka.groups import Groups
from slop.redis.client import redis_client
from slop.redis.parking import Parking
from slop.redis.posts import Floats, PostRef, Posts
from slop.redis.served import SeenTexts
from slop.redis.writable import require_writable
from slop.rewards import Rewards
from slop.rollout.lanes import Lanes, LaneThreads
from slop.rollout.live import BasisRef, LiveBases
from slop.text_features import EncodedText

log = structlog.get_logger(__name__)

MOST_PLACES: Final = 4  # by default
REQUESTS: Final = 512  # connections at a time; how many texts of theirs wait is bounded apart


def places_of(settings: FeaturizerSettings) -> int:
    """How many pieces of texts are computed at a time; by default one for each core, and MOST_PLACES at most."""
    return settings.featurizer_threads or min(os.cpu_count() or 1, MOST_PLACES)


def instance_under(basis: Basis, settings: FeaturizerSettings) -> str:
    """The name of this replica's lane in consumer groups; lanes whose bases share text features share a group."""
    return settings.featurizer_instance and f"{settings.featurizer_instance}.{basis.version}"


class FeaturizerLane:
    """The workers under one basis, each in a thread of its own.

    Attributes:
        basis: that they work under.
        text_version: of its text features.
    """

    def __init__(
        self,
        settings: FeaturizerSettings,
        redis: Redis,
        basis: Basis,
        features: TextFeatures,
        is_live: Callable[[], bool],
        shares_features: Callable[[], bool] = lambda: False,
    ) -> None:
        """Start the threads.

        Args:
            settings: of the process.
            redis: where posts and parked interactions are.
            basis: to work under.
            features: computes text features under the basis.
            is_live: whether the basis is live. Only then interactions are parked or rejected, and work is counted.
            shares_features: whether the live basis has the same version of text features. Both are in one consumer
                group of posts then.
        """
        self.basis, self._features, self._threads = basis, features, LaneThreads(is_live)
        self.text_version = basis.text_version

        def is_asked_for() -> bool:
            return is_live() or shares_features()

        self._post_features, woken = PostFeatures(Posts(redis, basis), features), threading.Event()
        parking = Parking(redis, basis, settings.parking_bounds())
        enricher = Enricher(
            self._post_features,
            parking,
            basis,
            Rewards.of(settings.reward_weights),
            settings.batch_limits(),
            SeenTexts(redis, settings.remembered()),
            is_live,
            woken.set,
        )
        groups, name = Groups.of(basis), instance_under(basis, settings)
        # Texts and features have threads of their own, so that texts are stored however many posts wait for features.
        texts = TextStore(self._post_features, parking, partial(ReactedPosts.of_log, settings), woken.set)
        background = BackgroundFeatures(self._post_features, is_asked_for, self._threads.stop)
        texts_read = TextsRead(settings, groups.texts)
        self._workers: dict[str, SignalWorker | PostWorker] = {
            "interactions": SignalWorker(settings, redis, groups.interactions, enricher, texts_read, is_live, name),
            "texts": PostWorker(settings, redis, groups.texts, settings.featurizer_batch, texts, is_live, name),
            "posts": PostWorker(
                settings, redis, groups.features, settings.featurizer_posts, background, is_asked_for, name
            ),
        }
        for part, worker in self._workers.items():
            self._threads.start(part, worker.run)
        self._threads.start("parking", ParkingWorker(settings, parking, self._post_features, is_live, woken).run)

    @property
    def error(self) -> str:
        """The error that ended a thread; empty if none did."""
        return self._threads.error

    def features_of(self, asked: Sequence[RequestedText]) -> list[Floats | None]:
        """Features of requested texts: (F,) float32 for each, None if they can't be computed."""
        rows = self._post_features.answer(asked)
        return [
            None if row is None else self._with_factors(post, row) for (post, _), row in zip(asked, rows, strict=True)
        ]

    def encoded(self, asked: Sequence[RequestedText]) -> list[EncodedText | None]:
        """As `features_of`, with the embeddings."""
        found = self._post_features.answer_encoded(asked)
        return [
            None if one is None else one._replace(features=self._with_factors(post, one.features))
            for (post, _), one in zip(asked, found, strict=True)
        ]

    def _with_factors(self, post: PostRef | None, text_features: Floats) -> Floats:
        return self.basis.features(text_features, None if post is None else post.key)

    def check(self) -> None:
        """Raise if a worker has failed, or is no member of its group though it should be."""
        self._threads.check()
        for worker in self._workers.values():
            worker.check()

    def check_progress(self) -> None:
        """Raise if a worker has records and has done none for `stalled_s`."""
        for worker in self._workers.values():
            worker.subscription.check_progress()

    def stop(self) -> None:
        """Tell the threads to end, without waiting for them."""
        self._threads.stop.set()

    def close(self) -> None:
        """Wait until the threads have ended, and leave the groups."""
        self._threads.join()
        for worker in self._workers.values():
            worker.close()
        self._features.close()


def run(settings: FeaturizerSettings, stop: threading.Event) -> None:
    """Work until `stop` is set.

    Raises:
        slop.basis.InvalidBasis: there is no usable basis, or its head was fitted on another embedder.
        slop.embedder.InvalidEmbedder: the settings name none that is usable.
        OSError: the health port is taken.
    """
    configured, places = BasisRef.of(settings.basis_dir), places_of(settings)
    embedder, semaphore = Embedder.of(settings), PrioritySemaphore(places)
    Encoder(configured.load(), embedder)  # raises here if no post could ever be encoded
    redis = redis_client(settings.redis_url, settings.featurizer_redis_timeout_s)

    def start(basis: Basis) -> FeaturizerLane:
        def is_live() -> bool:
            return lanes.is_live(basis.version)

        def shares_features() -> bool:
            live = lanes.live
            return live is not None and live.text_version == text_version

        remembered, text_version = settings.featurizer_cached_posts, basis.text_version
        features = TextFeatures(Encoder(basis, embedder), basis.text_size, semaphore, remembered, is_live)
        return FeaturizerLane(settings, redis, basis, features, is_live, shares_features)

    lanes = Lanes(LiveBases(redis, configured), "featurizer", start)
    checks = {
        "redis": in_thread(partial(require_writable, redis, "featurizer")),
        "kafka": in_thread(lanes.check),
        "progress": in_thread(lanes.check_progress),
    }
    requests = FeatureRequests(settings.featurizer_asked_texts, places)
    router = features_router(requests, lambda version: lanes.by_version.get(version) or lanes.live)
    with health_server(settings.host, settings.featurizer_port, checks, router, requests=REQUESTS) as port:
        log.info("featurizer started", port=port, basis=configured.version, embedder=embedder.name)
        lanes.run(settings.follow_s, stop)
    requests.close()
    log.info("featurizer stopped")
