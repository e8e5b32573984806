"""How far behind a consumer group is, found out without joining it, and moving a group that has no members."""

from collections.abc import Mapping
from typing import Final

from kafka.structs import OffsetAndMetadata, TopicPartition

from slop.kafka.log import LOG_RECORDS, log_reader
from slop.kafka.topics import Topic
from slop.settings import CommonSettings

COMMIT_MS: Final = 5_000
TAIL_POLL_MS: Final = 300
MOST_TAIL_POLLS: Final = 10


class GroupLag:
    """How far a group is behind a topic's ends, as they were at some time; moves a group that has no members."""

    def __init__(self, settings: CommonSettings, group: str, topic: Topic) -> None:
        """Connects; it does not join the group.

        Raises:
            kafka.errors.KafkaError: the brokers are away, here and below.
        """
        self._topic, self._consumer = topic, log_reader(settings, group)

    def ends(self) -> dict[TopicPartition, int]:
        """The ends of the topic's partitions now; none of a topic that is not there yet."""
        numbers = self._consumer.partitions_for_topic(self._topic.name) or ()
        partitions = [TopicPartition(self._topic.name, number) for number in numbers]
        self._consumer.assign(partitions)
        for partition, end in self._consumer.end_offsets(partitions).items():
            self._consumer.seek(partition, end)
        for _ in range(MOST_TAIL_POLLS):  # Tansu leaves out the end of the last batch
            if not self._consumer.poll(TAIL_POLL_MS, max_records=LOG_RECORDS):
                break
        return {partition: self._consumer.position(partition) for partition in partitions}

    def behind(self, ends: Mapping[TopicPartition, int]) -> int:
        """How many records up to `ends` the group has not committed."""
        begins = self._consumer.beginning_offsets(list(ends))
        return sum(max(0, end - max(begins[at], self._consumer.committed(at) or 0)) for at, end in ends.items())

    def rewind(self) -> None:
        """Have the group read the topic from its beginning."""
        self._move(self._consumer.beginning_offsets(list(self.ends())))

    def begin_at(self, time_ms: int) -> None:
        """Have the group read what was written from then on, in milliseconds since the epoch."""
        ends = self.ends()
        found = self._consumer.offsets_for_times(dict.fromkeys(ends, time_ms))
        self._move({at: ends[at] if found.get(at) is None else found[at].offset for at in ends})

    def skip(self) -> None:
        """Have the group read only what is written from now on."""
        self._move(self.ends())

    def _move(self, offsets: Mapping[TopicPartition, int]) -> None:
        moved = {at: OffsetAndMetadata(offset, "", -1) for at, offset in offsets.items()}
        self._consumer.commit(moved, timeout_ms=COMMIT_MS)

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()
