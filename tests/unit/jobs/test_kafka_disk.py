from prometheus_client import REGISTRY

from jobs import metrics
from jobs.kafka_disk import DiskUse


def folder(total: int, usable: int, *sizes: int, error: int = 0) -> dict[str, object]:
    partitions = [{"partition_index": number, "partition_size": size} for number, size in enumerate(sizes)]
    topics = [{"name": "slop.posts.v1", "partitions": partitions}]
    return {"error_code": error, "topics": topics, "total_bytes": total, "usable_bytes": usable}


def test_a_brokers_folders_are_added_up_and_those_that_it_cannot_read_are_left_out() -> None:
    folders = [folder(100, 40, 7, 8), folder(50, 10, 5), folder(900, 900, 900, error=56)]
    assert DiskUse.of(folders) == DiskUse(log=20, total=150, usable=50)


def test_a_broker_from_before_they_told_shows_its_logs_alone() -> None:
    assert DiskUse.of([folder(-1, -1, 7)]) == DiskUse(log=7, total=None, usable=None)
    metrics.show_disk_use({4: DiskUse(log=7, total=None, usable=None)})
    assert REGISTRY.get_sample_value("slop_kafka_disk_bytes", {"broker": "4", "kind": "log"}) == 7
    assert REGISTRY.get_sample_value("slop_kafka_disk_bytes", {"broker": "4", "kind": "usable"}) is None


def test_a_broker_that_is_gone_is_shown_no_more() -> None:
    metrics.show_disk_use({1: DiskUse(7, 20, 10)})
    metrics.show_disk_use({})
    assert REGISTRY.get_sample_value("slop_kafka_disk_bytes", {"broker": "1", "kind": "log"}) is None
