"""The threads of the featurizer. Each polls, works, publishes, and commits after that, so that a crash loses nothing.

After a crash some work is done twice, which changes nothing: texts and features are the same, signals have the same
source, an interaction is parked once, and one that is published twice is known by its event id.
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
from featurizer.enrichment import Enricher
from featurizer.post_features import PostFeatures
from featurizer.post_texts import TextsRead
from featurizer.priority import Priority
from featurizer.results import SERVICE, Enriched, Unsignalled
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
from slop.redis.parked import Parked, published_again
from slop.redis.parking import Claim, Parking
from slop.v1.interaction_pb2 import Interaction, Rejected

log = structlog.get_logger(__name__)

AWAY: Final = (RedisError, KafkaError, TimeoutError)
CLAIMED_POSTS: Final = 16  # posts whose parked interactions are published again at once, at most
CLAIMED_DUE: Final = 256  # parked interactions that are looked at for expiry at once, at most


class SignalWorker:
    """Polls interactions, makes signals of them, and publishes these."""

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
        """A worker under one basis.

        Args:
            settings: of the process.
            redis: where offsets are noted.
            group: consumer group of the interactions.
            enricher: makes the signals.
            texts: waited for before the first poll.
            is_live: whether the basis is live. Only then records are rejected and counted.
            instance: name of the replica's lane in the group.
        """
        self._settings, self._enricher, self._texts, self._is_live = settings, enricher, texts, is_live
        self._outbox = Outbox(settings)
        self.subscription = Subscription(settings, group, [INTERACTIONS], instance)
        # A Redis that has lost everything does not make it read the log again: its signals are in Kafka.
        self._commits = DurableCommits(self.subscription, redis, WhenLost.STAY, settings.redis_persisted_after_s)

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set."""
        wait_s, batch = self._settings.featurizer_wait_s, self._settings.featurizer_batch
        self._texts.wait(stop)  # before the first poll: a member that polls too rarely is removed from its group
        try:
            while not stop.is_set():
                records = retry(lambda: self._commits.poll(wait_s, batch), AWAY, stop, "poll interactions")
                if records:
                    with metrics.BATCH_SECONDS.time():
                        self._work(records, stop)
        finally:
            self._outbox.close()

    def check(self) -> None:
        """Raise if it is no member of its group. Before the first poll it needs not be."""
        if self._texts.done:
            self.subscription.check()

    def close(self) -> None:
        """Commit what is done, and leave the group. To be called after its thread has ended."""
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
    """Polls posts and calls `handle` with them, which may come again."""

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
        """A worker under one basis.

        Args:
            settings: of the process.
            redis: where offsets are noted.
            group: consumer group of the posts.
            batch: how many posts are polled at once, at most.
            handle: does the work; returns the records to reject.
            is_live: whether the basis is live. Only then records are rejected, also those over which `handle` raises.
            instance: name of the replica's lane in the group.
        """
        self._wait_s, self._batch, self._handle, self._is_live = settings.featurizer_wait_s, batch, handle, is_live
        self._outbox = Outbox(settings)
        self.subscription = Subscription(settings, group, [POSTS], instance, BACKGROUND_FETCH_WAIT_MS)
        self._commits = DurableCommits(self.subscription, redis, WhenLost.BEGINNING, settings.redis_persisted_after_s)

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set."""
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
        """Commit what is done, and leave the group. To be called after its thread has ended."""
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

    It removes them after it has published them. If it crashes in between they are published twice; the learner knows
    their event ids.
    """

    def __init__(
        self,
        settings: FeaturizerSettings,
        parking: Parking,
        post_features: PostFeatures,
        is_live: Callable[[], bool],
        woken: threading.Event,
    ) -> None:
        """A worker under one basis.

        Args:
            settings: of the process.
            parking: where parked interactions are.
            post_features: finds posts and computes their features.
            is_live: whether the basis is live. Only then it works.
            woken: has it look at once; else it looks every `featurizer_parking_look_s`.
        """
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
        """Publish what may be published now, and reject what has expired.

        Raises:
            redis.exceptions.RedisError, kafka.errors.KafkaError: a server is away. The next call goes on with the same
                claims, so that nothing has to wait for the end of their lease.
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
        """Publish the interactions parked under a post again, or reject them if its features can't be computed."""
        if failed is None:
            sent = [_again(one.interaction) for one in parked]
        else:
            sent = _as_rejected(_refused(one, "failed", f"its post: {failed.error}") for one in parked)
        self._outbox.publish(sent)
        self._parking.remove([one.entry for one in parked])
        metrics.PARKING.labels("redelivered").inc(len(parked) if failed is None else 0)

    def _expire(self) -> bool:
        """Reject interactions that have expired and whose post is still unknown; returns whether more may be due."""
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
    again = published_again(interaction)
    return ProducerRecord(INTERACTIONS, key_of(again), encode(again))


def _refused(parked: Parked, reason: str, detail: str) -> Rejected:
    """A parked interaction that is rejected now, as it is published."""
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
