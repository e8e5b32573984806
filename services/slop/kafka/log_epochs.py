"""Log epochs: numbers that tell a topic from a former one of the same name, whose offsets were other records'."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final
from uuid import UUID

from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError, for_code

from slop.kafka.brokers import addresses

REQUEST_MS: Final = 5_000
NO_ID: Final = UUID(int=0)


def epoch_of(topic_id: UUID) -> int:
    """The log epoch of a topic: a digest of its own id, 1 to 2**32 - 1.

    Two ids have the same one by a chance of 1 in 4 billion.
    """
    return int.from_bytes(blake2b(topic_id.bytes, digest_size=4).digest(), "little") or 1


class LogEpochs:
    """Asks the brokers for the epochs of topics, by one request each time, which takes a few milliseconds."""

    def __init__(self, bootstrap: str, topics: Sequence[str]) -> None:
        """Connects, and waits until the topics are there.

        Raises:
            kafka.errors.KafkaError: the brokers are away, or a topic does not come.
        """
        self._topics = list(topics)
        self._admin = KafkaAdminClient(bootstrap_servers=addresses(bootstrap), request_timeout_ms=REQUEST_MS)
        try:
            self._admin.wait_for_topics(self._topics, REQUEST_MS)  # the brokers tell of new ones a moment later
        except KafkaError:
            self._admin.close()
            raise

    def look(self) -> dict[str, int]:
        """The epochs now, by topic. Brokers older than 2.8 know no ids: all their topics have the same epoch.

        Raises:
            kafka.errors.KafkaError: the brokers are away, or a topic is not there.
        """
        return {topic["name"]: epoch_of(UUID(str(topic["topic_id"] or NO_ID))) for topic in self._described()}

    def partitions(self) -> dict[str, int]:
        """How many partitions the topics have; raises as `look`."""
        return {topic["name"]: len(topic["partitions"]) for topic in self._described()}

    def _described(self) -> list[dict[str, Any]]:
        topics: list[dict[str, Any]] = self._admin.describe_topics(self._topics)
        for topic in topics:
            if topic["error_code"]:
                raise for_code(topic["error_code"])(topic["name"])
        return topics

    def close(self) -> None:
        """Close the connection."""
        self._admin.close()
