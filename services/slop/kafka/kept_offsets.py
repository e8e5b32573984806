"""How far a consumer group has got, kept in Redis beside what the group has written there.

`slop.kafka.durability` says why. A hash of Redis has a field for each partition, topic/partition. Its value is the log
epoch (`slop.kafka.log_epochs`), in eight hex digits, and the offset of the next record.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Final, cast

from kafka.structs import TopicPartition
from redis import Redis

from slop.redis.scripts import Call, Script

KEPT_TTL_S: Final = 90 * 24 * 3600

# KEYS: how far a group has got. ARGV: expiry in s, number of fields that were written before, these fields, then each
# field to write and its value. Writes them and returns 1; returns 0 and writes nothing if a former field is missing.
_KEEP: Final = Script("""
local former = tonumber(ARGV[2])
for at = 3, 2 + former do
  if redis.call('HEXISTS', KEYS[1], ARGV[at]) == 0 then return 0 end
end
for at = 3 + former, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1]) end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
""")


def kept_key(group: str) -> str:
    """Where Redis keeps how far a consumer group has got: by topic/partition, the log epoch and the next offset."""
    return f"slop:kept:{group}"


class KeptOffsets:
    """The kept offsets of one group. Calls that read or write raise redis.exceptions.RedisError if Redis is away."""

    def __init__(self, redis: Redis, group: str, epoch: Callable[[TopicPartition], int]) -> None:
        """Reads nothing yet.

        Args:
            redis: that is read from.
            group: the consumer group.
            epoch: tells the epoch of the log that is read from a partition now.
        """
        self.key = kept_key(group)
        self._redis, self._epoch = redis, epoch
        self._told: set[TopicPartition] = set()  # what Redis was told of by this process, and must know of

    def keep(self, offsets: Mapping[TopicPartition, int], redis: Redis) -> bool:
        """Write offsets by `redis`; False, and nothing is written, if Redis was emptied after it was told of others.

        Raises:
            slop.redis.persistence.OtherRun: `redis` is bound to a run of Redis that is over.
        """
        if not offsets:
            return True
        former = [_field(at) for at in self._told]
        values = [x for at, offset in offsets.items() for x in (_field(at), f"{self._epoch(at):08x} {offset}")]
        [kept] = _KEEP.run(redis, [Call([self.key], [KEPT_TTL_S, len(former), *former, *values])])
        if kept:
            self._told |= offsets.keys()
        return bool(kept)

    def forget(self) -> None:
        """Forget what Redis was told of: it is another one, or was emptied."""
        self._told.clear()

    def is_emptied(self) -> bool:
        """Whether Redis has lost anything that it was told of by this process."""
        return None in self.found(self._told).values()

    def of(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int | None]:
        """The kept offsets of the logs that are read now; None where Redis has none, or one of another log."""
        return {at: self._offset(at, value) for at, value in self.found(partitions).items()}

    def found(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, bytes | None]:
        """What is stored of partitions, of whichever log; None: nothing."""
        if not partitions:
            return {}
        found = cast("list[bytes | None]", self._redis.hmget(self.key, [_field(at) for at in partitions]))
        return dict(zip(partitions, found, strict=True))

    def _offset(self, partition: TopicPartition, kept: bytes | None) -> int | None:
        epoch, _, offset = (kept or b"").decode().partition(" ")
        return int(offset) if epoch == f"{self._epoch(partition):08x}" else None


def _field(partition: TopicPartition) -> str:
    return f"{partition.topic}/{partition.partition}"
