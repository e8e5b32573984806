"""How full Kafka's disks are (KIP-827): a broker whose disk is full takes no more records."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final, Self

from kafka import KafkaAdminClient

from slop.kafka.brokers import require_broker

TIMEOUT_MS: Final = 5_000
_UNKNOWN: Final = -1  # what a broker answers that does not know it


@dataclass(frozen=True, slots=True)
class DiskUse:
    """Bytes, summed over a broker's disks; None where the broker does not tell.

    Attributes:
        log: what its logs take.
        total: the size of the volumes that they are on.
        usable: what is free there.
    """

    log: int
    total: int | None
    usable: int | None

    @classmethod
    def of(cls, log_dirs: Sequence[Mapping[str, Any]]) -> Self:
        """From a broker's answer about its folders; those that it can't read are left out."""
        sound = [each for each in log_dirs if not each["error_code"]]
        partitions = [part for each in sound for topic in each["topics"] for part in topic["partitions"]]
        return cls(
            log=sum(int(part["partition_size"]) for part in partitions),
            total=_sum(sound, "total_bytes"),
            usable=_sum(sound, "usable_bytes"),
        )


def disk_use(bootstrap: str) -> dict[int, DiskUse]:
    """The use of every broker's disks, by the broker's id.

    Raises:
        kafka.errors.KafkaError: the brokers are away, or do not know this request.
    """
    require_broker(bootstrap)
    with closing(KafkaAdminClient(bootstrap_servers=bootstrap.split(","), request_timeout_ms=TIMEOUT_MS)) as admin:
        return {int(each["broker"]): DiskUse.of(each["log_dirs"]) for each in admin.describe_log_dirs()}


def _sum(log_dirs: Sequence[Mapping[str, Any]], name: str) -> int | None:
    sizes = [int(each.get(name, _UNKNOWN)) for each in log_dirs]
    return None if not sizes or _UNKNOWN in sizes else sum(sizes)
