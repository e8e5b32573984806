"""`python -m trainer.learner`: from slop.signals.v1 to the profiles in Redis, effectively once.

A profile is written together with the source offset of its last signal and the ids of its events, in one atomic call;
Kafka's offsets are committed after. So a crash anywhere leads to signals that come again and are seen to be old.

Every basis that is followed has a consumer group and a key space of its own (`trainer.following`): a new one is learned
from the start of the log beside the live one.
"""

import sys
import threading
import time
from collections.abc import Callable
from functools import partial

import structlog
from kafka.errors import KafkaError
from redis import Redis
from redis.exceptions import RedisError

from kit.logs import configure_logs
from kit.worker import health_server, in_thread, retry, stop_on_signals
from slop.basis import Basis, InvalidBasis
from slop.live import LiveBases, Place, groups_of
from slop.storage import Profiles
from slop.streams import Record, Subscription
from slop.topics import SIGNALS
from slop.writable import require_writable
from trainer.following import Following, LaneThreads
from trainer.learner_metrics import BATCH_SECONDS, BATCH_SIGNALS, LearnerMetrics
from trainer.learning import Learner, Outcome
from trainer.settings import LearnerSettings

log = structlog.get_logger(__name__)


class Worker:
    """Moves batches from the subscription through the learner until it is told to stop."""

    def __init__(
        self,
        subscription: Subscription,
        learner: Learner,
        settings: LearnerSettings,
        is_live: Callable[[], bool] = lambda: True,
    ) -> None:
        """Counts what it learns while `is_live`: who relearns the log under another basis has seen it all before."""
        self._subscription, self._learner, self._is_live = subscription, learner, is_live
        self._metrics = LearnerMetrics()
        self._wait_s, self._max_records = settings.learner_wait_s, settings.learner_batch

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; a batch under way is finished unless Redis is away.

        Raises:
            kit.worker.Stopped: as `step` does.
        """
        while not stop.is_set():
            self.step(stop)

    def step(self, stop: threading.Event) -> int:
        """Poll, learn and commit; returns how many records there were.

        Raises:
            kit.worker.Stopped: `stop` was set while a dependency was away.
        """
        records = retry(self._poll, (KafkaError,), stop, "poll signals")
        if records:
            with BATCH_SECONDS.time():
                values = [record.value for record in records]
                outcome = retry(lambda: self._learner.learn(values), (RedisError,), stop, "learn a batch")
                self._count(outcome)
                self._commit()
            BATCH_SIGNALS.observe(len(records))
        return len(records)

    def _poll(self) -> list[Record]:
        return self._subscription.poll(self._wait_s, self._max_records)

    def _count(self, outcome: Outcome) -> None:
        if self._is_live():
            self._metrics.count(outcome, now_ms=time.time() * 1_000)
        if outcome.refused:
            log.error("records refused", records=len(outcome.refused), first=outcome.refused[0].detail)

    def _commit(self) -> None:
        try:
            self._subscription.commit()
        except KafkaError as error:  # what is learned stays so; if it comes again, it is seen to be old
            log.warning("offsets not committed", error=f"{type(error).__name__}: {error}")


class LearnerLane:
    """Learns under one basis, in a thread of its own."""

    def __init__(self, worker: Worker, subscription: Subscription, is_live: Callable[[], bool]) -> None:
        """Start it; `is_live` tells whether the process can't go on without it."""
        self._subscription, self._threads = subscription, LaneThreads(is_live)
        self._threads.start("learner", worker.run)

    @property
    def error(self) -> str:
        """What ended it; empty while nothing did."""
        return self._threads.error

    def check(self) -> None:
        """Raise if it has failed, the brokers do not answer, or it is no member of its group."""
        self._threads.check()
        self._subscription.check()

    def check_progress(self) -> None:
        """Raise if there are signals and none was learned for too long."""
        self._subscription.check_progress()

    def stop(self) -> None:
        """Tell it to end."""
        self._threads.stop.set()

    def close(self) -> None:
        """Finish the batch under way and leave the group."""
        self._threads.join()
        self._subscription.close()


def learner_of(settings: LearnerSettings, redis: Redis, basis: Basis) -> Learner:
    """The learner under a basis."""
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
    timeout_s = settings.learner_redis_timeout_s
    redis = Redis.from_url(settings.redis_url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)
    live = LiveBases(redis, Place.of(settings.basis_dir))

    def start(basis: Basis) -> LearnerLane:
        group = groups_of(basis, live.configured.version, settings).signals
        subscription = Subscription(settings, group, [SIGNALS], settings.learner_instance)
        learner = learner_of(settings, redis, basis)

        def is_live() -> bool:
            return following.is_live(basis.version)

        worker = Worker(subscription, learner, settings, is_live)
        log.info("learning", group=group, basis=basis.version)
        return LearnerLane(worker, subscription, is_live)

    following = Following(live, "learner", start)
    checks = {
        "redis": in_thread(partial(require_writable, redis, "learner")),
        "kafka": in_thread(following.check),
        "progress": in_thread(following.check_progress),
    }
    with redis, health_server(settings.host, settings.learner_port, checks) as port:
        log.info("learner started", port=port)
        following.run(settings.follow_s, stop)
    log.info("learner stopped")


def main() -> None:
    """Run the process."""
    settings = LearnerSettings()
    configure_logs("learner", settings.log_level, settings.log_format)
    try:
        run(settings, stop_on_signals())
    except (InvalidBasis, OSError) as error:
        sys.exit(f"learner: {error}")


if __name__ == "__main__":
    main()
