"""`python -m trainer.learner`: from slop.signals.v1 to the profiles in Redis, effectively once.

A profile is written together with the source offset of its last signal and the ids of its events, in one atomic call;
Kafka's offsets are committed after. So a crash anywhere leads to signals that come again and are seen to be old.
"""

import sys
import threading
import time
from contextlib import closing

import structlog
from kafka.errors import KafkaError
from redis import Redis
from redis.exceptions import RedisError

from kit.logs import configure_logs
from kit.worker import Stopped, health_server, in_thread, retry, stop_on_signals
from slop.basis import Basis, InvalidBasis
from slop.storage import Profiles
from slop.streams import Record, Subscription
from slop.topics import SIGNALS
from trainer.learner_metrics import BATCH_SECONDS, BATCH_SIGNALS, LearnerMetrics
from trainer.learning import Learner, Outcome
from trainer.settings import LearnerSettings

log = structlog.get_logger(__name__)


class Worker:
    """Moves batches from the subscription through the learner until it is told to stop."""

    def __init__(self, subscription: Subscription, learner: Learner, settings: LearnerSettings) -> None:
        self._subscription, self._learner, self._metrics = subscription, learner, LearnerMetrics()
        self._wait_s, self._max_records = settings.learner_wait_s, settings.learner_batch

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; a batch under way is finished unless Redis is away."""
        try:
            while not stop.is_set():
                self.step(stop)
        except Stopped:
            log.info("stopped while waiting; the batch will come again")

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
        self._metrics.count(outcome, now_ms=time.time() * 1_000)
        if outcome.refused:
            log.error("records refused", records=outcome.refused)

    def _commit(self) -> None:
        try:
            self._subscription.commit()
        except KafkaError as error:  # what is learned stays so; if it comes again, it is seen to be old
            log.warning("offsets not committed", error=f"{type(error).__name__}: {error}")


def learner_of(settings: LearnerSettings, redis: Redis) -> Learner:
    """The learner of the settings' basis.

    Raises:
        slop.basis.InvalidBasis: there is no usable basis.
    """
    basis = Basis.load(settings.basis_dir)
    window_ms = 1_000 * settings.seen_window_s
    return Learner(Profiles(redis, basis.version, window_ms), basis, settings.prior_of(basis), window_ms)


def run(settings: LearnerSettings, stop: threading.Event) -> None:
    """Learn until `stop` is set.

    Raises:
        slop.basis.InvalidBasis: there is no usable basis.
        OSError: the health port is taken.
    """
    timeout_s = settings.learner_redis_timeout_s
    redis = Redis.from_url(settings.redis_url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)
    subscription = Subscription(settings, settings.learner_group, [SIGNALS], settings.learner_instance)
    checks = {"redis": in_thread(redis.ping), "kafka": in_thread(subscription.check)}
    worker = Worker(subscription, learner_of(settings, redis), settings)
    with redis, health_server(settings.host, settings.learner_port, checks) as port, closing(subscription):
        log.info("learner started", port=port, group=settings.learner_group)
        worker.run(stop)
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
