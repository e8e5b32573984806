from itertools import product

from collector import metrics
from collector.rejections import Reason
from slop.interaction_types import INTERACTION_TYPES
from tests.samples import sample


def test_every_type_is_there_before_its_first_event() -> None:
    assert metrics.ACCEPTED
    for kind in (*INTERACTION_TYPES, "post"):
        assert sample("slop_collector_accepted_total", type=kind) >= 0


def test_every_reason_is_there_before_its_first_rejection() -> None:
    for topic, reason in product(("slop.interactions.v1", "slop.posts.v1"), Reason):
        assert sample("slop_collector_rejected_total", topic=topic, reason=reason) >= 0
