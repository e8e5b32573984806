"""`python -m trainer.featurizer`: from slop.interactions.v1 and slop.posts.v1 to slop.signals.v1.

Three threads for every basis that is followed (`trainer.following`), all on one copy of the model: one joins
interactions with the features of their posts, and computes what is missing first; one makes the texts of posts known as
they come; one computes features while nothing is urgent. Each commits its Kafka offsets after its work is in Redis or
acknowledged by Kafka, so a crash leads to work done twice, which changes nothing: features are a function of the text,
and signals carry their source.
"""

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from http import HTTPStatus
from itertools import islice
from typing import Any

import structlog
import torch
from fastapi import APIRouter
from google.protobuf.message import DecodeError
from kafka.errors import KafkaError
from prometheus_client import Counter, Histogram
from pydantic import BaseModel, Field
from redis import Redis
from redis.exceptions import RedisError

from kit.logs import configure_logs
from kit.problems import Problem
from kit.worker import health_server, in_thread, retry, stop_on_signals
from slop.basis import Basis, InvalidBasis
from slop.live import LiveBases, Place
from slop.posts import PostRef, Posts, PostText
from slop.rewards import Rewards
from slop.streams import GroupLag, Record, Subscription, worker_producer
from slop.topics import INTERACTIONS, POSTS, REJECTED, SIGNALS, Groups, encode, key_of
from slop.v1.post_pb2 import Post
from slop.writable import require_writable
from trainer.catalog import Catalog
from trainer.enrichment import Enriched, Enricher
from trainer.extraction import Extractor, Turnstile
from trainer.following import Following, LaneThreads
from trainer.heap import keep_freed_memory
from trainer.language_model import LanguageModel, PromptScorer, model_folder, revision_of
from trainer.settings import FeaturizerSettings

log = structlog.get_logger(__name__)

MAX_TEXTS = 64
MAX_TEXT_LENGTH = 20_000
FLUSH_S = 10.0
LOOK_S = 1.0
POSTS_BETWEEN_LOOKS = 8
MOST_PLACES = 4  # unless the settings say more: each needs some 150 MB

Texts = Mapping[PostRef, PostText]

INTERACTIONS_TOTAL = Counter(
    "slop_featurizer_interactions", "Interactions by what became of them: signal, silent or rejected.", ["outcome"]
)
POSTS_TOTAL = Counter("slop_featurizer_posts", "Posts from the topic: computed, known before, or broken.", ["outcome"])
BATCH_SECONDS = Histogram(
    "slop_featurizer_batch_seconds",
    "From a batch of interactions to its signals' acknowledgement.",
    buckets=(0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
)
for _outcome in ("signal", "silent", "rejected"):
    INTERACTIONS_TOTAL.labels(_outcome)
for _outcome in ("computed", "known", "broken"):
    POSTS_TOTAL.labels(_outcome)


class TextsRead:
    """Whether old posts are known before old reactions to them come: who relearns the log reads both at once.

    Attributes:
        done: whether all replicas together have read what was published before `wait` began.
    """

    def __init__(self, settings: FeaturizerSettings, group: str) -> None:
        """`group` reads the texts."""
        self._settings, self._group = settings, group
        self.done = False

    def wait(self, stop: threading.Event) -> None:
        """Wait until it is done.

        Raises:
            kit.worker.Stopped: `stop` was set before.
        """
        lag = retry(
            lambda: GroupLag(self._settings, self._group, POSTS), (KafkaError,), stop, "look what texts there are"
        )
        with closing(lag):
            ends = retry(lag.ends, (KafkaError,), stop, "look what texts there are")
            log.info("interactions wait until texts are read", group=self._group)
            while retry(lambda: lag.behind(ends), (KafkaError,), stop, "look whether texts are read"):
                stop.wait(LOOK_S)
        self.done = True

    def _lag(self) -> GroupLag:
        return GroupLag(self._settings, self._group, POSTS)


class SignalWorker:
    """Moves interactions through the enricher to slop.signals.v1."""

    def __init__(
        self,
        settings: FeaturizerSettings,
        group: str,
        enricher: Enricher,
        texts: TextsRead,
        is_live: Callable[[], bool],
        instance: str = "",
    ) -> None:
        """Waits for the texts that were published before it began; rejects and counts only while `is_live`."""
        self._settings, self._enricher, self._texts, self._is_live = settings, enricher, texts, is_live
        self._producer: Any = None
        self.subscription = Subscription(settings, group, [INTERACTIONS], instance)

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set."""
        wait_s, batch = self._settings.featurizer_wait_s, self._settings.featurizer_batch
        self._texts.wait(stop)  # before it polls: who holds records for long is thrown out of the group
        try:
            while not stop.is_set():
                records = retry(lambda: self.subscription.poll(wait_s, batch), (KafkaError,), stop, "poll interactions")
                if records:
                    with BATCH_SECONDS.time():
                        self._work(records, stop)
        finally:
            self.close()

    def check(self) -> None:
        """Raise if it is no member of its group, except while texts are being read."""
        if self._texts.done:
            self.subscription.check()

    def _work(self, records: Sequence[Record], stop: threading.Event) -> None:
        enriched = retry(lambda: self._enricher.enrich(records), (RedisError,), stop, "join interactions")
        retry(lambda: self._publish(enriched), (KafkaError,), stop, "publish signals")
        _commit(self.subscription)
        if self._is_live():
            INTERACTIONS_TOTAL.labels("signal").inc(len(enriched.signals))
            INTERACTIONS_TOTAL.labels("silent").inc(enriched.silent)
            INTERACTIONS_TOTAL.labels("rejected").inc(len(enriched.rejected))

    def _publish(self, enriched: Enriched) -> None:
        try:
            self._producer = self._producer or worker_producer(self._settings)
            sent = [
                self._producer.send(SIGNALS.name, key=key_of(signal), value=encode(signal))
                for signal in enriched.signals
            ]
            if self._is_live():
                sent += [self._producer.send(REJECTED.name, value=encode(rejected)) for rejected in enriched.rejected]
            self._producer.flush(timeout=FLUSH_S)
            for future in sent:
                future.get(timeout=0)
        except KafkaError:
            self.close()
            raise

    def close(self) -> None:
        """Give the producer up; the next batch makes a new one."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.close(timeout=1)


class PostWorker:
    """Reads posts and hands their texts on; `handle` may be repeated with the same texts."""

    def __init__(
        self,
        settings: FeaturizerSettings,
        group: str,
        batch: int,
        handle: Callable[[Texts], object],
        instance: str = "",
    ) -> None:
        self._wait_s, self._batch, self._handle = settings.featurizer_wait_s, batch, handle
        self.subscription = Subscription(settings, group, [POSTS], instance)

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; to be called in a thread of its own."""
        while not stop.is_set():
            records = retry(self._poll, (KafkaError,), stop, "poll posts")
            if texts := _texts_of(records):
                self._work(texts, stop)
            if records:
                _commit(self.subscription)

    def check(self) -> None:
        """Raise if it is no member of its group."""
        self.subscription.check()

    def _poll(self) -> list[Record]:
        return self.subscription.poll(self._wait_s, self._batch)

    def _work(self, texts: Texts, stop: threading.Event) -> None:
        retry(lambda: self._handle(texts), (RedisError,), stop, "store posts")


class PatientFeatures:
    """Computes features before anybody reacts to a post, and gives way to everything else meanwhile."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def __call__(self, texts: Texts) -> None:
        """Compute the features that are missing.

        Raises:
            kit.worker.Stopped: the lane is to end; the rest is left.
        """
        new = self._catalog.announce(texts)
        POSTS_TOTAL.labels("known").inc(len(texts) - len(new))
        left = iter(new.items())
        while some := dict(islice(left, POSTS_BETWEEN_LOOKS)):
            self._catalog.compute(some, urgent=False)
            POSTS_TOTAL.labels("computed").inc(len(some))


def _texts_of(records: Sequence[Record]) -> dict[PostRef, PostText]:
    """The newest text of each post; one that a client sends along does not hide which arm wrote it."""
    texts: dict[PostRef, PostText] = {}
    for ref, text in filter(None, map(_text_of, records)):
        if text.adds_to(texts.get(ref)):
            texts[ref] = text
    return texts


def _text_of(record: Record) -> tuple[PostRef, PostText] | None:
    if record.value is None:  # a tombstone
        return None
    try:
        post = Post.FromString(record.value)
    except DecodeError as error:
        POSTS_TOTAL.labels("broken").inc()
        log.error("broken post", partition=record.partition, offset=record.offset, error=str(error))
        return None
    return PostRef(post.tenant, post.post_id), PostText(post.text, post.arm, post.for_user_id)


def _commit(subscription: Subscription) -> None:
    try:
        subscription.commit()
    except KafkaError as error:  # the work is done; if it comes again, it changes nothing
        log.warning("offsets not committed", error=f"{type(error).__name__}: {error}")


class AskedTexts(BaseModel):
    """Texts whose features are asked for, under a basis; of the live one, if that is not followed."""

    texts: list[str] = Field(min_length=1, max_length=MAX_TEXTS)
    basis: str = ""


class Features(BaseModel):
    """Their features under the basis `basis`, each of length F, in the order asked for."""

    basis: str
    features: list[list[float]]


class SharedModel:
    """The frozen model, on which the extractors of all bases take turns."""

    def __init__(self, settings: FeaturizerSettings, basis: Basis) -> None:
        """Load the model.

        Raises:
            slop.basis.InvalidBasis: `basis` was trained on another model.
            OSError: the model can't be loaded.
        """
        folder = model_folder(settings.model)
        self._name, self._revision, self._template = settings.model, revision_of(folder), basis.template
        self._require(basis)
        self._model = LanguageModel.load(folder, basis.template, settings.device or None)
        self._places = _places(settings, self._model.device)
        self._turnstile = Turnstile(self._places)
        torch.set_num_threads(max(1, torch.get_num_threads() // self._places))

    def extractor(self, basis: Basis, is_live: Callable[[], bool] = lambda: True) -> Extractor:
        """The model with a basis' prompts before it.

        Raises:
            slop.basis.InvalidBasis: the basis was trained on another model, or has another template.
        """
        self._require(basis)
        scorer = PromptScorer(self._model, torch.from_numpy(basis.prompts))
        return Extractor(scorer, basis, self._places, self._turnstile, is_live)

    def _require(self, basis: Basis) -> None:
        if basis.revision != self._revision:
            raise InvalidBasis(f"the basis is of {basis.model} {basis.revision}, {self._name} is {self._revision}")
        if basis.template != self._template:
            raise InvalidBasis(f"the basis {basis.version} has another template than the one that was configured")


def _places(settings: FeaturizerSettings, device: torch.device) -> int:
    """Posts computed at a time: on a CPU one a core, since threads that share a post wait for each other."""
    if device.type != "cpu":
        return 1
    return settings.featurizer_threads or min(torch.get_num_threads(), MOST_PLACES)


def instance_under(basis: Basis, settings: FeaturizerSettings) -> str:
    """The name of this replica in the groups: lanes whose bases share text features are members of one group."""
    return settings.featurizer_instance and f"{settings.featurizer_instance}.{basis.version}"


class FeaturizerLane:
    """The workers under one basis, each in a thread of its own."""

    def __init__(
        self,
        settings: FeaturizerSettings,
        redis: Redis,
        basis: Basis,
        extractor: Extractor,
        is_live: Callable[[], bool],
    ) -> None:
        """Start them; `is_live` tells whether what they do is to be counted."""
        self._basis, self._extractor, self._threads = basis, extractor, LaneThreads(is_live)
        posts, groups = Posts(redis, basis), Groups.of(basis)
        wait_s, instance = settings.featurizer_post_wait_s, instance_under(basis, settings)
        catalog = Catalog(posts, extractor, settings.featurizer_cached_posts, wait_s, self._threads.stop)
        # Texts are read apart from features, so that a reaction finds its post however many posts wait for theirs.
        patient = PatientFeatures(catalog)
        enricher = Enricher(catalog, basis, Rewards.of(settings.reward_weights))
        self._workers: dict[str, SignalWorker | PostWorker] = {
            "interactions": SignalWorker(
                settings, groups.interactions, enricher, TextsRead(settings, groups.texts), is_live, instance
            ),
            "texts": PostWorker(settings, groups.texts, settings.featurizer_batch, catalog.announce, instance),
            "posts": PostWorker(settings, groups.features, settings.featurizer_posts, patient, instance),
        }
        for name, worker in self._workers.items():
            self._threads.start(name, worker.run)

    @property
    def error(self) -> str:
        """What ended it; empty while nothing did."""
        return self._threads.error

    def features(self, texts: Sequence[str]) -> Features:
        """Features of texts that a reader waits for."""
        vectors = self._extractor.features_of([text[:MAX_TEXT_LENGTH] for text in texts], urgent=True)
        return Features(
            basis=self._basis.version, features=[self._basis.features(vector).tolist() for vector in vectors]
        )

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
            worker.subscription.close()
        self._extractor.close()


def features_router(following: Following[FeaturizerLane]) -> APIRouter:
    """The internal call by which generation ranks texts that are no known posts."""
    router = APIRouter(tags=["features"])

    @router.post("/v1/features")
    def features(asked: AskedTexts) -> Features:
        lane = following.lanes.get(asked.basis) or following.live
        if lane is None:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "no basis is followed")
        return lane.features(asked.texts)

    return router


def run(settings: FeaturizerSettings, stop: threading.Event) -> None:
    """Work until `stop` is set.

    Raises:
        slop.basis.InvalidBasis: there is no usable basis, or it was trained on another model.
        OSError: the model can't be loaded, or the health port is taken.
    """
    configured = Place.of(settings.basis_dir)
    model = SharedModel(settings, configured.load())
    timeout_s = settings.featurizer_redis_timeout_s
    redis = Redis.from_url(settings.redis_url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)

    def start(basis: Basis) -> FeaturizerLane:
        def is_live() -> bool:
            return following.is_live(basis.version)

        return FeaturizerLane(settings, redis, basis, model.extractor(basis, is_live), is_live)

    following = Following(LiveBases(redis, configured), "featurizer", start)
    checks = {
        "redis": in_thread(partial(require_writable, redis, "featurizer")),
        "kafka": in_thread(following.check),
        "progress": in_thread(following.check_progress),
    }
    with health_server(settings.host, settings.featurizer_port, checks, features_router(following)) as port:
        log.info("featurizer started", port=port, basis=configured.version, model=settings.model)
        following.run(settings.follow_s, stop)
    log.info("featurizer stopped")


def main() -> None:
    """Run the process."""
    settings = FeaturizerSettings()
    configure_logs("featurizer", settings.log_level, settings.log_format)
    keep_freed_memory()
    try:
        run(settings, stop_on_signals())
    except (InvalidBasis, OSError) as error:
        sys.exit(f"featurizer: {error}")


if __name__ == "__main__":
    main()
