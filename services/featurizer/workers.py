"""The featurizer's threads: each polls, works, publishes, and commits only then, so that a crash loses nothing.

What a crash has done twice changes nothing: texts and features are the same again, signals carry their source, what is
parked is parked once, and interactions that are published again have their event ids.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import structlog
from google.protobuf.message import DecodeError
from kafka.errors import KafkaError
from redis import Redis
from redis.exceptions import RedisError

from featurizer import metrics
from featurizer.enrichment import SERVICE, Enriched, Enricher, Unsignalled
from featurizer.post_features import PostFeatures
from featurizer.post_texts import TextsRead
from featurizer.priority import Priority
from featurizer.settings import FeaturizerSettings
from featurizer.text_features import NotEncoded
from kit.isolation import isolated
from kit.worker import Stopped, retry
from slop.kafka.dead_letters import MAX_DETAIL, rejected
from slop.kafka.durability import DurableCommits, WhenLost
from slop.kafka.outbox import Outbox
from slop.kafka.records import ConsumerRecord, ProducerRecord
from slop.kafka.subscription import BACKGROUND_FETCH_WAIT_MS, Subscription
from slop.kafka.topics import INTERACTIONS, POSTS, REJECTED, SIGNALS, encode, key_of
from slop.redis.parking import Claim, Parked, Parking
from slop.v1.interaction_pb2 import Interaction, Rejected

log = structlog.get_logger(__name__)

AWAY: Final = (RedisError, KafkaError, TimeoutError)
CLAIMED_POSTS: Final = 16
CLAIMED_DUE: Final = 256


class SignalWorker:
    """Moves interactions through the enricher to slop.signals.v1."""

    def __init__(
        self,
        settings: FeaturizerSettings,
        redis: Redis,
        group: str,
        enricher: Enricher,
        texts: TextsRead,
        is_live: Callable[[], bool],
        instance: str = "",
    ) -> None:
        """Waits for the texts that were published before it began; rejects and counts only while `is_live`."""
        self._settings, self._enricher, self._texts, self._is_live = settings, enricher, texts, is_live
        self._outbox = Outbox(settings)
        self.subscription = Subscription(settings, group, [INTERACTIONS], instance)
        # Signals are in Kafka; what is parked is in Redis, and what is lost of that is not brought back by all the log.
        self._commits = DurableCommits(self.subscription, redis, WhenLost.STAY, settings.redis_persisted_after_s)

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set."""
        wait_s, batch = self._settings.featurizer_wait_s, self._settings.featurizer_batch
        self._texts.wait(stop)  # before it polls: who holds records for long is thrown out of the group
        try:
            while not stop.is_set():
                records = retry(lambda: self._commits.poll(wait_s, batch), AWAY, stop, "poll interactions")
                if records:
                    with metrics.BATCH_SECONDS.time():
                        self._work(records, stop)
        finally:
            self._outbox.close()

    def check(self) -> None:
        """Raise if it is no member of its group, except while texts are being read."""
        if self._texts.done:
            self.subscription.check()

    def close(self) -> None:
        """Commit what is done and leave the group; once its thread has ended."""
        self._commits.close()
        self.subscription.close()

    def _work(self, records: Sequence[ConsumerRecord], stop: threading.Event) -> None:
        epoch = self.subscription.epoch(INTERACTIONS.name)
        enriched = retry(lambda: self._enricher.enrich(records, epoch), (RedisError,), stop, "join interactions")
        sent = [ProducerRecord(SIGNALS, key_of(signal), encode(signal)) for signal in enriched.signals]
        if self._is_live():
            sent += _as_rejected(enriched.rejected)
        retry(lambda: self._outbox.publish(sent), (KafkaError,), stop, "publish signals")
        self._commits.done()
        if self._is_live():
            _count(enriched)


class PostWorker:
    """Reads posts and hands them on; `handle` may be repeated with the same records."""

    def __init__(
        self,
        settings: FeaturizerSettings,
        redis: Redis,
        group: str,
        batch: int,
        handle: Callable[[Sequence[ConsumerRecord]], Iterable[Rejected] | None],
        is_live: Callable[[], bool],
        instance: str = "",
    ) -> None:
        """What `handle` refuses, or fails over, is rejected while `is_live`."""
        self._wait_s, self._batch, self._handle, self._is_live = settings.featurizer_wait_s, batch, handle, is_live
        self._outbox = Outbox(settings)
        self.subscription = Subscription(settings, group, [POSTS], instance, BACKGROUND_FETCH_WAIT_MS)
        self._commits = DurableCommits(self.subscription, redis, WhenLost.BEGINNING, settings.redis_persisted_after_s)

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; to be called in a thread of its own."""
        try:
            while not stop.is_set():
                records = retry(self._poll, AWAY, stop, "poll posts")
                if records:
                    self._work(records, stop)
        finally:
            self._outbox.close()

    def check(self) -> None:
        """Raise if it is no member of its group."""
        self.subscription.check()

    def close(self) -> None:
        """Commit what is done and leave the group; once its thread has ended."""
        self._commits.close()
        self.subscription.close()

    def _poll(self) -> list[ConsumerRecord]:
        return self._commits.poll(self._wait_s, self._batch)

    def _work(self, records: Sequence[ConsumerRecord], stop: threading.Event) -> None:
        refused = retry(lambda: self._handled(records), AWAY, stop, "store posts")
        if self._is_live():
            retry(lambda: self._outbox.publish(_as_rejected(refused)), (KafkaError,), stop, "publish rejected posts")
        self._commits.done()

    def _handled(self, records: Sequence[ConsumerRecord]) -> list[Rejected]:
        return isolated(lambda some: self._handle(some) or (), records, _failed, but=(Stopped, *AWAY))


class ParkingWorker:
    """Publishes parked interactions again when what they wait for is there, and rejects those that have expired.

    It publishes, then removes: a crash between the two publishes them twice, and the learner knows their event ids.
    """

    def __init__(
        self,
        settings: FeaturizerSettings,
        parking: Parking,
        post_features: PostFeatures,
        is_live: Callable[[], bool],
        woken: threading.Event,
    ) -> None:
        """At work only while `is_live`; looks when it is `woken`, and every `parking_look_s`."""
        self._parking, self._post_features, self._is_live, self._woken = parking, post_features, is_live, woken
        self._look_s, self._outbox = settings.featurizer_parking_look_s, Outbox(settings)
        self._claims: list[Claim] = []
        metrics.PARKED_LIMIT.set(settings.featurizer_parked)

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set."""
        try:
            while not stop.is_set():
                self._woken.clear()
                if self._is_live():
                    retry(lambda: self.step(stop), AWAY, stop, "publish parked interactions")
                self._woken.wait(self._look_s)
        finally:
            self._outbox.close()

    def step(self, stop: threading.Event) -> None:
        """Do what is to be done now.

        Raises:
            redis.exceptions.RedisError, kafka.errors.KafkaError: a server is away; do it again, which goes on with the
                same claims, so that nothing waits for their lease to end.
        """
        while not stop.is_set() and (claims := self._claims or self._parking.claim_wanted(CLAIMED_POSTS)):
            self._claims = claims
            self._redeliver(claims)
            self._claims = []
        while not stop.is_set() and self._expire():
            pass
        metrics.PARKED.set(self._parking.size())

    def _redeliver(self, claims: Sequence[Claim]) -> None:
        posts = self._post_features.find([claim.post for claim in claims])
        missing = {ref: post for ref, post in posts.items() if post.text_features is None}
        _, failed = self._post_features.compute(missing, Priority.REQUEST)
        for claim in claims:
            if claim.post in posts:
                self._settle(self._parking.of_post(claim.post), failed.get(claim.post))
        self._parking.finish(claims)

    def _settle(self, parked: Sequence[Parked], failed: NotEncoded | None) -> None:
        """Publish what was parked under a post again; as rejected, if the post can't have features."""
        if failed is None:
            sent = [_again(one.interaction) for one in parked]
        else:
            sent = _as_rejected(_refused(one, "failed", f"its post: {failed.error}") for one in parked)
        self._outbox.publish(sent)
        self._parking.remove([one.entry for one in parked])
        metrics.PARKING.labels("redelivered").inc(len(parked) if failed is None else 0)

    def _expire(self) -> bool:
        """Reject what has expired, unless its post has come; returns whether there may be more."""
        due, gone = self._parking.claim_due(CLAIMED_DUE)
        known = self._post_features.find([one.entry.post for one in due])
        self._parking.want({one.entry.post for one in due if one.entry.post in known})
        expired = [one for one in due if one.entry.post not in known]
        self._outbox.publish(_as_rejected(_refused(one, one.rejected.reason, one.rejected.detail) for one in expired))
        self._parking.remove([*gone, *(one.entry for one in expired)])
        metrics.PARKING.labels("expired").inc(len(expired))
        return len(due) + len(gone) == CLAIMED_DUE


def _failed(record: ConsumerRecord, error: Exception) -> list[Rejected]:
    metrics.POSTS.labels("broken").inc()
    log.warning("post failed", partition=record.partition, offset=record.offset, error=repr(error))
    reason = "not_protobuf" if isinstance(error, DecodeError) else "failed"
    return [rejected(record, reason, f"{type(error).__name__}: {error}", SERVICE)]


def _again(interaction: Interaction) -> ProducerRecord:
    """An interaction to be published again: the same but for the count, so that its age is known."""
    interaction.redeliveries += 1
    return ProducerRecord(INTERACTIONS, key_of(interaction), encode(interaction))


def _refused(parked: Parked, reason: str, detail: str) -> Rejected:
    """A parked interaction that is rejected now."""
    refused = Rejected()
    refused.CopyFrom(parked.rejected)
    refused.reason, refused.detail = reason, detail[:MAX_DETAIL]
    refused.rejected_at_ms = time.time_ns() // 1_000_000
    return refused


def _as_rejected(records: Iterable[Rejected]) -> list[ProducerRecord]:
    return [ProducerRecord(REJECTED, None, encode(record)) for record in records]


def _count(enriched: Enriched) -> None:
    refused = sum(one.reason == "parking_full" for one in enriched.rejected)
    for outcome, count in (
        ("signal", len(enriched.signals)),
        ("silent", enriched.unsignalled[Unsignalled.SILENT]),
        ("rejected", len(enriched.rejected)),
        ("parked", enriched.unsignalled[Unsignalled.PARKED]),
    ):
        metrics.INTERACTIONS.labels(outcome).inc(count)
    metrics.PARKING.labels("parked").inc(enriched.unsignalled[Unsignalled.PARKED])
    metrics.PARKING.labels("refused").inc(refused)
