"""`python -m featurizer`: from slop.interactions.v1 and slop.posts.v1 to slop.signals.v1.

Four threads for every basis that is followed (`slop.rollout.lanes`), and they wait for nothing but Redis and Kafka.
One joins interactions with the features of their posts, and parks those whose post is not known; one makes the texts of
posts known as they come; one computes features that nobody asks for yet; one publishes what is parked again when its
post has come. Each commits its Kafka offsets after its work is in Redis or acknowledged by Kafka.
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
from slop.redis.posts import Floats, Posts
from slop.redis.writable import require_writable
from slop.rewards import Rewards
from slop.rollout.lanes import Lanes, LaneThreads
from slop.rollout.live import BasisRef, LiveBases

log = structlog.get_logger(__name__)

MOST_PLACES: Final = 4  # unless the settings say more
REQUESTS: Final = 512  # connections at a time: requests for features wait in their own bound


def places_of(settings: FeaturizerSettings) -> int:
    """Pieces of work computed at a time."""
    return settings.featurizer_threads or min(os.cpu_count() or 1, MOST_PLACES)


def instance_under(basis: Basis, settings: FeaturizerSettings) -> str:
    """The name of this replica in the groups: lanes whose bases share text features are members of one group."""
    return settings.featurizer_instance and f"{settings.featurizer_instance}.{basis.version}"


class FeaturizerLane:
    """The workers under one basis, each in a thread of its own.

    Attributes:
        basis: under which.
        text_version: of its features of posts.
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
        """Start them.

        Args:
            settings: where the servers are, and all bounds.
            redis: where posts are, and what is parked.
            basis: what they work under.
            features: computes features under it.
            is_live: only while it is, they park and reject, and what they do is counted.
            shares_features: whether its features of posts are the live basis' too; then one group computes both.
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
            is_live,
            woken.set,
        )
        groups, name = Groups.of(basis), instance_under(basis, settings)
        # TextStore are read apart from features, so that a reaction finds its post however many posts wait for theirs.
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
        """What ended it; empty while nothing did."""
        return self._threads.error

    def features_of(self, asked: Sequence[RequestedText]) -> list[Floats | None]:
        """(F,) float32 of each text that a request asks for; None of one that can't have any."""
        rows = self._post_features.answer(asked)
        return [
            None if row is None else self.basis.features(row, None if post is None else post.key)
            for (post, _), row in zip(asked, rows, strict=True)
        ]

    def check(self) -> None:
        """Raise if a worker has failed or is no member of its group; while texts are being read, one needs not be."""
        self._threads.check()
        for worker in self._workers.values():
            worker.check()

    def check_progress(self) -> None:
        """Raise if a worker has records and has done none for too long."""
        for worker in self._workers.values():
            worker.subscription.check_progress()

    def stop(self) -> None:
        """Tell the workers to end."""
        self._threads.stop.set()

    def close(self) -> None:
        """Finish what is under way and leave the groups."""
        self._threads.join()
        for worker in self._workers.values():
            worker.close()
        self._features.close()


def run(settings: FeaturizerSettings, stop: threading.Event) -> None:
    """Work until `stop` is set.

    Raises:
        slop.basis.InvalidBasis: there is no usable basis, or its head reads another embedder.
        slop.embedder.InvalidEmbedder: the settings name none that is usable.
        OSError: the health port is taken.
    """
    configured, places = BasisRef.of(settings.basis_dir), places_of(settings)
    embedder, semaphore = Embedder.of(settings), PrioritySemaphore(places)
    Encoder(configured.load(), embedder)  # ends the process where no post can ever be encoded
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
