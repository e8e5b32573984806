"""`python -m trainer.featurizer`: from slop.interactions.v1 and slop.posts.v1 to slop.signals.v1.

Three threads: one joins interactions with the features of their posts, and computes what is missing first; one makes
the texts of posts known as they come; one computes features while nothing is urgent. Each commits its Kafka offsets
after its work is in Redis or acknowledged by Kafka, so a crash leads to work done twice, which changes nothing:
features are a function of the text, and signals carry their source.
"""

import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
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
from kit.worker import Stopped, health_server, in_thread, retry, stop_on_signals
from slop.basis import Basis, InvalidBasis
from slop.rewards import Rewards
from slop.storage import PostRef, Posts, PostText
from slop.streams import Record, Subscription, worker_producer
from slop.topics import (
    FEATURIZER_GROUP,
    INTERACTIONS,
    POST_FEATURES_GROUP,
    POST_TEXTS_GROUP,
    POSTS,
    REJECTED,
    SIGNALS,
    encode,
    key_of,
)
from slop.v1.post_pb2 import Post
from trainer.catalog import Catalog
from trainer.enrichment import Enriched, Enricher
from trainer.extraction import Extractor
from trainer.heap import keep_freed_memory
from trainer.language_model import LanguageModel, PromptScorer, model_folder, revision_of
from trainer.settings import FeaturizerSettings

log = structlog.get_logger(__name__)

MAX_TEXTS = 64
MAX_TEXT_LENGTH = 20_000
FLUSH_S = 10.0
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


class SignalWorker:
    """Moves interactions through the enricher to slop.signals.v1."""

    def __init__(self, settings: FeaturizerSettings, enricher: Enricher) -> None:
        self._settings, self._enricher = settings, enricher
        self._producer: Any = None
        self.subscription = Subscription(settings, FEATURIZER_GROUP, [INTERACTIONS], settings.featurizer_instance)

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set."""
        wait_s, batch = self._settings.featurizer_wait_s, self._settings.featurizer_batch
        while not stop.is_set():
            records = retry(lambda: self.subscription.poll(wait_s, batch), (KafkaError,), stop, "poll interactions")
            if records:
                with BATCH_SECONDS.time():
                    self._work(records, stop)

    def _work(self, records: Sequence[Record], stop: threading.Event) -> None:
        enriched = retry(lambda: self._enricher.enrich(records), (RedisError,), stop, "join interactions")
        retry(lambda: self._publish(enriched), (KafkaError,), stop, "publish signals")
        _commit(self.subscription)
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

    def __init__(self, settings: FeaturizerSettings, group: str, batch: int, handle: Callable[[Texts], object]) -> None:
        self._wait_s, self._batch, self._handle = settings.featurizer_wait_s, batch, handle
        self.subscription = Subscription(settings, group, [POSTS], settings.featurizer_instance)

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; to be called in a thread of its own."""
        while not stop.is_set():
            records = retry(self._poll, (KafkaError,), stop, "poll posts")
            if texts := _texts_of(records):
                self._work(texts, stop)
            if records:
                _commit(self.subscription)

    def _poll(self) -> list[Record]:
        return self.subscription.poll(self._wait_s, self._batch)

    def _work(self, texts: Texts, stop: threading.Event) -> None:
        retry(lambda: self._handle(texts), (RedisError,), stop, "store posts")


class PatientFeatures:
    """Computes features before anybody reacts to a post, and gives way to everything else meanwhile."""

    def __init__(self, catalog: Catalog, stop: threading.Event) -> None:
        self._catalog, self._stop = catalog, stop

    def __call__(self, texts: Texts) -> None:
        """Compute the features that are missing.

        Raises:
            Stopped: the process is to end; the rest is left.
        """
        new = self._catalog.announce(texts)
        POSTS_TOTAL.labels("known").inc(len(texts) - len(new))
        left = iter(new.items())
        while some := dict(islice(left, POSTS_BETWEEN_LOOKS)):
            if self._stop.is_set():
                raise Stopped("posts are left")
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
    """Texts whose features are asked for."""

    texts: list[str] = Field(min_length=1, max_length=MAX_TEXTS)


class Features(BaseModel):
    """Their features under the basis `basis`, each of length F, in the order asked for."""

    basis: str
    features: list[list[float]]


def features_router(extractor: Extractor, basis: Basis) -> APIRouter:
    """The internal call by which generation ranks texts that are no known posts."""
    router = APIRouter(tags=["features"])

    @router.post("/v1/features")
    def features(asked: AskedTexts) -> Features:
        vectors = extractor.features_of([text[:MAX_TEXT_LENGTH] for text in asked.texts], urgent=True)
        return Features(basis=basis.version, features=[basis.features(vector).tolist() for vector in vectors])

    return router


def load_extractor(settings: FeaturizerSettings, basis: Basis) -> Extractor:
    """The model with the basis' prompts before it.

    Raises:
        slop.basis.InvalidBasis: the basis was trained on another model.
    """
    folder = model_folder(settings.model)
    if (revision := revision_of(folder)) != basis.revision:
        raise InvalidBasis(f"the basis is of {basis.model} {basis.revision}, {settings.model} is {revision}")
    model = LanguageModel.load(folder, basis.template, settings.device or None)
    places = _places(settings, model.device)
    torch.set_num_threads(max(1, torch.get_num_threads() // places))
    return Extractor(PromptScorer(model, torch.from_numpy(basis.prompts)), basis, places)


def _places(settings: FeaturizerSettings, device: torch.device) -> int:
    """Posts computed at a time: on a CPU one a core, since threads that share a post wait for each other."""
    if device.type != "cpu":
        return 1
    return settings.featurizer_threads or min(torch.get_num_threads(), MOST_PLACES)


def _until_stopped(run: Callable[[threading.Event], None], stop: threading.Event) -> None:
    """Run a worker; whatever ends it ends the process, so that it is started again whole."""
    try:
        run(stop)
    except Stopped:
        log.info("stopped while at work; what is left will come again")
    except Exception:
        log.exception("worker failed")
        os._exit(1)
    finally:
        stop.set()


def run(settings: FeaturizerSettings, stop: threading.Event) -> None:
    """Work until `stop` is set.

    Raises:
        slop.basis.InvalidBasis: there is no usable basis, or it was trained on another model.
        OSError: the model can't be loaded, or the health port is taken.
    """
    basis = Basis.load(settings.basis_dir)
    extractor = load_extractor(settings, basis)
    timeout_s = settings.featurizer_redis_timeout_s
    redis = Redis.from_url(settings.redis_url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)
    catalog = Catalog(
        Posts(redis, basis), extractor, settings.featurizer_cached_posts, settings.featurizer_post_wait_s, stop
    )
    signals = SignalWorker(settings, Enricher(catalog, basis, Rewards.of(settings.reward_weights)))
    # Texts are read apart from features, so that a reaction finds its post however many posts wait for theirs.
    texts = PostWorker(settings, POST_TEXTS_GROUP, settings.featurizer_batch, catalog.announce)
    features = PostWorker(settings, POST_FEATURES_GROUP, settings.featurizer_posts, PatientFeatures(catalog, stop))
    workers: dict[str, SignalWorker | PostWorker] = {"interactions": signals, "texts": texts, "posts": features}
    checks = {name: in_thread(worker.subscription.check) for name, worker in workers.items()}
    checks["redis"] = in_thread(redis.ping)
    router = features_router(extractor, basis)
    with health_server(settings.host, settings.featurizer_port, checks, router) as port:
        log.info("featurizer started", port=port, basis=basis.version, model=settings.model)
        _run_all(workers, stop)
        signals.close()
    log.info("featurizer stopped")


def _run_all(workers: Mapping[str, SignalWorker | PostWorker], stop: threading.Event) -> None:
    threads = [
        threading.Thread(target=_until_stopped, args=(worker.run, stop), name=name) for name, worker in workers.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for worker in workers.values():
        worker.subscription.close()


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
