"""What happens to the items of one request: the valid ones are published, the others reported."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

from pydantic import TypeAdapter, ValidationError

from collector import metrics
from collector.errors import Failure, Refused, failure_of
from collector.records import record_of, record_of_rejection
from collector.rejections import Rejection
from collector.wire import MAX_ITEMS, Event, Post
from slop.fields import Id
from slop.kafka.publisher import NotPublished, Publisher
from slop.kafka.records import ProducerRecord
from slop.kafka.topics import Topic

Result = dict[str, str]

_ID: Final[TypeAdapter[str]] = TypeAdapter(Id)


class Intake:
    """Takes events or posts of one tenant."""

    def __init__(self, publisher: Publisher, tenant: str) -> None:
        self._publisher, self._tenant = publisher, tenant

    async def take(self, items: Sequence[Event | Post | Rejection], topic: Topic, id_name: str) -> list[Result]:
        """Publish what is valid.

        Args:
            items: events, or posts.
            topic: where they go.
            id_name: the member that results are told apart by.

        Returns:
            One result for every item, in the order given, once Kafka has acknowledged all valid ones.

        Raises:
            Refused: too many items, none valid, or not published.
        """
        if len(items) > MAX_ITEMS:
            raise Refused(Failure.TOO_MANY, count=len(items), limit=MAX_ITEMS)
        now_ms = time.time_ns() // 1_000_000
        results = [_result(item, id_name) for item in items]
        valid = [item for item in items if not isinstance(item, Rejection)]
        self._report([item for item in items if isinstance(item, Rejection)], topic, now_ms)
        if not valid:
            raise Refused(Failure.NONE_VALID, {"results": results})
        await self._publish([record_of(item, self._tenant, now_ms) for item in valid])
        _count(valid)
        return results

    async def _publish(self, records: Sequence[ProducerRecord]) -> None:
        try:
            await self._publisher.publish(records)
        except NotPublished as error:
            raise Refused(failure_of(error)) from error

    def _report(self, rejections: Sequence[Rejection], topic: Topic, now_ms: int) -> None:
        if rejections:
            records = [record_of_rejection(rejection, topic, now_ms) for rejection in rejections]
            self._publisher.publish_soon(records, metrics.LOST_REPORTS.inc)
        for rejection in rejections:
            metrics.REJECTED.labels(topic.name, rejection.reason).inc()


def _count(items: Sequence[Event | Post]) -> None:
    for kind, count in Counter("post" if isinstance(item, Post) else item.type for item in items).items():
        metrics.ACCEPTED.labels(kind).inc(count)


def _result(item: Event | Post | Rejection, id_name: str) -> Result:
    if isinstance(item, Rejection):
        return {**_known_id(item, id_name), "status": "rejected", "error": item.error}
    return {id_name: getattr(item, id_name), "status": "accepted"}


def _known_id(rejection: Rejection, id_name: str) -> Result:
    claimed = rejection.item.get(id_name) if isinstance(rejection.item, dict) else None
    try:
        return {id_name: _ID.validate_python(claimed)}
    except ValidationError:
        return {}
