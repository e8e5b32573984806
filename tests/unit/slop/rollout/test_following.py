import threading

import pytest

from slop.rollout.lanes import LaneFailed, LaneThreads


def fail(_: threading.Event) -> None:
    raise ZeroDivisionError("of nothing")


def test_a_thread_that_fails_under_a_basis_that_is_not_live_ends_its_lane_and_no_more() -> None:
    lane, other = LaneThreads(lambda: False), LaneThreads(lambda: True)
    for threads in (lane, other):
        threads.start("waiting", lambda stop: stop.wait(60))
    lane.start("failing", fail)
    lane.join()
    assert lane.error == "ZeroDivisionError: of nothing"
    with pytest.raises(LaneFailed, match="of nothing"):
        lane.check()
    other.check()
    assert not other.stop.is_set()
    other.join()
    assert other.error == ""
