"""Everything that can go wrong with a request as a whole, and how the client is told."""

from enum import Enum
from http import HTTPStatus
from typing import Any

from kit.problems import Problem
from slop.kafka.publisher import BrokerAway, NotPublished, QueueFull


class Failure(Enum):
    """Why a request was not taken: the status, what is said, and whether the same request may succeed later."""

    TOO_MANY = (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "{count} items, where a request may have {limit}", False)
    NONE_VALID = (HTTPStatus.UNPROCESSABLE_ENTITY, "nothing was valid; results says why", False)
    QUEUE_FULL = (HTTPStatus.TOO_MANY_REQUESTS, "too much is waiting for Kafka; send again later", True)
    BROKER_AWAY = (HTTPStatus.SERVICE_UNAVAILABLE, "Kafka can't be reached; send again later", True)
    NOT_ACKNOWLEDGED = (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Kafka did not acknowledge everything in time; send all of it again, which is harmless",
        True,
    )

    def __init__(self, status: HTTPStatus, detail: str, passes: bool) -> None:
        self.status, self.detail, self.passes = status, detail, passes


class Refused(Exception):  # noqa: N818
    """A request that was not taken.

    Attributes:
        failure: why.
        members: more for the problem document, such as the results.
    """

    def __init__(self, failure: Failure, members: dict[str, Any] | None = None, **values: float) -> None:
        """`values` are what the failure's detail names in braces."""
        super().__init__(failure.detail.format(**values))
        self.failure, self.members = failure, members or {}


def problem_of(refused: Refused, retry_after_s: int) -> Problem:
    """The problem document of a refusal, with Retry-After where it passes."""
    failure = refused.failure
    pause = retry_after_s if failure.passes else None
    return Problem(failure.status, str(refused), retry_after_s=pause, code=failure.name.lower(), **refused.members)


def failure_of(error: NotPublished) -> Failure:
    """What it means to the client that records were not published."""
    if isinstance(error, QueueFull):
        return Failure.QUEUE_FULL
    return Failure.BROKER_AWAY if isinstance(error, BrokerAway) else Failure.NOT_ACKNOWLEDGED
