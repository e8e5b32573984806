"""`python -m learner`: applies the signals of slop.signals.v1 to the profiles in Redis, effectively once.

A profile is written in one atomic step with the source of its last signal and the ids of its events. Kafka's offsets
are committed after Redis has persisted that (`slop.kafka.durability`). So after a crash signals come again: they are
seen to be replays, or they are learned if Redis has lost them. What can't be learned goes to slop.rejected.v1.

Every basis that is followed has a consumer group and a key space of its own (`slop.rollout.lanes`): a new one is
learned from the start of the log beside the live one.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import structlog
from kafka.errors import KafkaError
from redis import Redis
from redis.exceptions import RedisError, ResponseError

from kit.isolation import isolated
from kit.worker import Stopped, health_server, in_thread, retry
from learner.learning import BatchOutcome, LearnedSignals, Learner
from learner.metrics import BATCH_SECONDS, BATCH_SIGNALS, UNEXPLAINED_REPLAYS, LearnerMetrics
from learner.settings import LearnerSettings
from slop.basis import Basis
from slop.kafka.dead_letters import rejected
from slop.kafka.durability import DurableCommits, WhenLost
from slop.kafka.outbox import Outbox
from slop.kafka.records import ConsumerRecord, ProducerRecord
from slop.kafka.subscription import Subscription
from slop.kafka.topics import REJECTED, SIGNALS, encode
from slop.redis.client import redis_client
from slop.redis.persistence import OtherRun
from slop.redis.profiles import Profiles
from slop.redis.writable import require_writable
from slop.rollout.lanes import Lanes, LaneThreads
from slop.rollout.live import BasisRef, LiveBases, groups_of
from slop.signals import Reason, RejectedRecord

OF_THE_DATA: Final = "WRONGTYPE"  # Redis' error for a key whose value is of another type; trying again is useless

log = structlog.get_logger(__name__)


class NotWritable(ValueError):  # noqa: N818
    """What Redis has under the key of a reader is of another type, so that no profile can be written there."""


class Worker:
    """Polls batches of signals and learns them."""

    def __init__(
        self,
        commits: DurableCommits,
        learner: Learner,
        settings: LearnerSettings,
        is_live: Callable[[], bool] = lambda: True,
        redis: Redis | None = None,
    ) -> None:
        """A worker under one basis.

        Args:
            commits: of the subscription to the signals.
            learner: under the basis.
            settings: of the process.
            is_live: whether the basis is live. Under another one nothing is counted or rejected, since the learner of
                the live basis does that with the same interactions.
            redis: where the lift's sums are kept; None: nowhere.
        """
        self._commits, self._learner, self._is_live, self._redis = commits, learner, is_live, redis
        self._metrics, self._outbox = LearnerMetrics(), Outbox(settings)
        self._wait_s, self._max_records = settings.learner_wait_s, settings.learner_batch

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set. The batch under way is finished, unless a server is away.

        Raises:
            kit.worker.Stopped: as `step` does.
        """
        try:
            while not stop.is_set():
                self.step(stop)
        finally:
            self._outbox.close()

    def step(self, stop: threading.Event) -> int:
        """Poll and learn a batch, and publish what can't be learned; returns the number of records.

        Raises:
            kit.worker.Stopped: `stop` was set while a server was away.
        """
        records = retry(self._poll, (KafkaError, RedisError), stop, "poll signals")
        if records:
            with BATCH_SECONDS.time():
                try:
                    unlearned = self._learned(records, stop)
                except OtherRun as error:
                    log.warning("a batch is given up, and comes again", records=len(records), reason=str(error))
                    return 0
                retry(lambda: self._outbox.publish(unlearned), (KafkaError,), stop, "publish rejected signals")
                if not self._commits.done():
                    self._take_back(records, stop)
            BATCH_SIGNALS.observe(len(records))
        return len(records)

    def _poll(self) -> list[ConsumerRecord]:
        return self._commits.poll(self._wait_s, self._max_records)

    def _learned(self, records: Sequence[ConsumerRecord], stop: threading.Event) -> list[ProducerRecord]:
        """Learn records; returns what is to be published of those that can't be learned.

        Raises:
            slop.kafka.durability.OtherRun: Redis was started again, and may have lost profiles.
        """

        def learned(some: Sequence[ConsumerRecord]) -> list[ProducerRecord]:
            outcome = retry(lambda: self._tried(some), (RedisError,), stop, "learn a batch")
            return self._counted(outcome, some)

        def failed(record: ConsumerRecord, error: Exception) -> list[ProducerRecord]:
            failure = RejectedRecord(0, Reason.FAILED, f"{type(error).__name__}: {error}")
            return self._counted(BatchOutcome(LearnedSignals(), rejected=(failure,)), [record])

        return isolated(learned, records, failed, but=(Stopped, OtherRun))

    def _take_back(self, records: Sequence[ConsumerRecord], stop: threading.Event) -> None:
        """Delete the profiles that records were learned into, since Redis was emptied meanwhile.

        The profiles lack what was learned before. When that comes again, they would take it for replays.
        """
        log.warning("Redis was emptied: what a batch has learned is deleted, and comes again", records=len(records))
        values = [record.value for record in records]
        with suppress(OtherRun):
            retry(lambda: self._learner.forget(values), (RedisError,), stop, "delete what a batch has learned")

    def _counted(self, outcome: BatchOutcome, records: Sequence[ConsumerRecord]) -> list[ProducerRecord]:
        """Count an outcome; returns the rejected records as they are published."""
        self._count(outcome, records)
        return [_as_rejected(records[one.index], one) for one in outcome.rejected] if self._is_live() else []

    def _tried(self, records: Sequence[ConsumerRecord]) -> BatchOutcome:
        """Learn records.

        Raises:
            redis.exceptions.RedisError: Redis is away; the call may be repeated.
            NotWritable: see there; repeating the call is useless.
        """
        try:
            return self._learner.learn([record.value for record in records])
        except ResponseError as error:
            if OF_THE_DATA in str(error):
                raise NotWritable(str(error)) from error
            raise

    def _count(self, outcome: BatchOutcome, records: Sequence[ConsumerRecord]) -> None:
        if not self._is_live():
            return
        self._metrics.count(outcome, now_ms=time.time() * 1_000)
        if self._redis is not None:
            self._metrics.keep_lift(self._redis)
        if not any(map(self._commits.was_read_before, records)):
            UNEXPLAINED_REPLAYS.inc(outcome.unremembered)
        if outcome.rejected:
            log.error("records rejected", records=len(outcome.rejected), first=outcome.rejected[0].detail)


def _as_rejected(record: ConsumerRecord, why: RejectedRecord) -> ProducerRecord:
    return ProducerRecord(REJECTED, None, encode(rejected(record, why.reason, why.detail, "learner")))


class LearnerLane:
    """The learner under one basis, in a thread of its own."""

    def __init__(
        self, worker: Worker, commits: DurableCommits, subscription: Subscription, is_live: Callable[[], bool]
    ) -> None:
        """Start the thread. If it fails while `is_live` is true, the process ends."""
        self._commits, self._subscription, self._threads = commits, subscription, LaneThreads(is_live)
        self._threads.start("learner", worker.run)

    @property
    def error(self) -> str:
        """The error that ended the thread; empty if none did."""
        return self._threads.error

    def check(self) -> None:
        """Raise if the thread has failed, the brokers do not answer, or this process is no member of its group."""
        self._threads.check()
        self._subscription.check()

    def check_progress(self) -> None:
        """Raise if there are signals and none was learned for `stalled_s`."""
        self._subscription.check_progress()

    def stop(self) -> None:
        """Tell the thread to end, without waiting for it."""
        self._threads.stop.set()

    def close(self) -> None:
        """Wait until the thread has ended, and leave the group."""
        self._threads.join()
        self._commits.close()
        self._subscription.close()


def learner_of(settings: LearnerSettings, redis: Redis, basis: Basis) -> Learner:
    """A learner under a basis."""
    window_ms = 1_000 * settings.seen_window_s
    return Learner(
        Profiles(redis, basis.version, window_ms), basis, settings.prior_of(basis), window_ms, settings.seen_events
    )


def run(settings: LearnerSettings, stop: threading.Event) -> None:
    """Learn until `stop` is set.

    Raises:
        slop.basis.InvalidBasis: there is no usable basis.
        OSError: the health port is taken.
    """
    redis = redis_client(settings.redis_url, settings.learner_redis_timeout_s)
    live = LiveBases(redis, BasisRef.of(settings.basis_dir))

    def start(basis: Basis) -> LearnerLane:
        group = groups_of(basis, live.configured.version, settings).signals
        subscription = Subscription(settings, group, [SIGNALS], settings.learner_instance)
        commits = DurableCommits(subscription, redis, WhenLost.BEGINNING, settings.redis_persisted_after_s)
        learner = learner_of(settings, commits.redis, basis)

        def is_live() -> bool:
            return lanes.is_live(basis.version)

        worker = Worker(commits, learner, settings, is_live, redis)
        log.info("learning", group=group, basis=basis.version)
        return LearnerLane(worker, commits, subscription, is_live)

    lanes = Lanes(live, "learner", start)
    checks = {
        "redis": in_thread(partial(require_writable, redis, "learner")),
        "kafka": in_thread(lanes.check),
        "progress": in_thread(lanes.check_progress),
    }
    with redis, health_server(settings.host, settings.learner_port, checks) as port:
        log.info("learner started", port=port)
        lanes.run(settings.follow_s, stop)
    log.info("learner stopped")
