from itertools import product

from generation import metrics
from generation.contracts import Reason
from slop.arms import Arm
from tests.samples import sample


def test_every_arm_and_reason_is_there_before_the_first_post() -> None:
    assert metrics.POSTS
    for arm, reason in product(Arm, Reason):
        assert sample("slop_generated_posts_total", arm=arm, reason=reason) >= 0
