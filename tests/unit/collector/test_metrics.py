from itertools import product
from typing import get_args

from collector import metrics
from collector.rejections import Reason
from collector.wire import Reaction
from tests.samples import sample


def test_every_type_is_there_before_its_first_event() -> None:
    assert metrics.ACCEPTED
    for kind in (*get_args(Reaction.model_fields["type"].annotation), "dwell", "rate", "post"):
        assert sample("slop_collector_accepted_total", type=kind) >= 0


def test_every_reason_is_there_before_its_first_rejection() -> None:
    for topic, reason in product(("slop.interactions.v1", "slop.posts.v1"), Reason):
        assert sample("slop_collector_rejected_total", topic=topic, reason=reason) >= 0
