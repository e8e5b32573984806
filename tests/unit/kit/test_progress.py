import pytest

from kit.progress import Progress, Stalled
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def progress(clock: Clock) -> Progress:
    return Progress(30, clock)


def test_nothing_is_expected_of_a_worker_that_has_not_begun(progress: Progress, clock: Clock) -> None:
    clock.now_s = 1_000
    progress.check()


def test_a_worker_that_has_nothing_to_do_and_comes_round_is_well(progress: Progress, clock: Clock) -> None:
    for second in range(0, 200, 20):
        clock.now_s = second
        progress.came_round(done=0, behind=0)
        progress.check()


def test_a_worker_that_catches_up_is_well_however_far_behind_it_is(progress: Progress, clock: Clock) -> None:
    for second in range(0, 200, 20):
        clock.now_s = second
        progress.came_round(done=1, behind=100_000)
        progress.check()


def test_a_worker_that_is_behind_and_gets_nothing_done_has_stalled_until_it_does(
    progress: Progress, clock: Clock
) -> None:
    progress.came_round(done=0, behind=7)
    for second in range(10, 40, 10):
        clock.now_s = second
        progress.came_round(done=0, behind=7)
        progress.check()
    clock.now_s = 31
    with pytest.raises(Stalled, match="nothing done for 31 s, 7 left"):
        progress.check()
    progress.came_round(done=1, behind=6)
    progress.check()


@pytest.mark.parametrize("behind", [0, 5])
def test_a_worker_that_does_not_come_round_any_more_has_stalled(progress: Progress, clock: Clock, behind: int) -> None:
    progress.came_round(done=3, behind=behind)
    clock.now_s = 31
    with pytest.raises(Stalled):
        progress.check()
