from http import HTTPStatus

import pytest

from generation.engine_progress import EngineProgress, NoToken
from kit.problems import Problem
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def progress(clock: Clock) -> EngineProgress:
    """Of an engine that has just written something, and hangs after 12 s in vain."""
    progress = EngineProgress(12, clock)
    progress.wrote()
    return progress


def test_an_engine_that_has_never_written_is_not_ready_and_is_asked_at_once() -> None:
    progress = EngineProgress(12)
    assert progress.probe_is_due
    with pytest.raises(NoToken, match="no token has come yet"):
        progress.check()


def test_an_engine_that_nobody_asks_does_not_hang_but_is_asked_after_a_while(
    progress: EngineProgress, clock: Clock
) -> None:
    clock.now_s = 23
    assert not progress.probe_is_due
    clock.now_s = 25
    assert progress.probe_is_due
    clock.now_s = 1_000
    assert progress.probe_is_due
    progress.check()


def test_an_engine_that_writes_for_anybody_is_well_and_not_asked_for_more(
    progress: EngineProgress, clock: Clock
) -> None:
    with progress.request(), progress.request():
        for second in range(0, 100, 3):
            clock.now_s = second
            assert not progress.probe_is_due
            progress.check()
            progress.wrote()


def test_while_somebody_waits_it_is_asked_sooner(progress: EngineProgress, clock: Clock) -> None:
    clock.now_s = 5
    assert not progress.probe_is_due
    with progress.request():
        assert progress.probe_is_due


def test_an_engine_that_was_asked_in_vain_for_too_long_hangs_until_something_comes(
    progress: EngineProgress, clock: Clock
) -> None:
    clock.now_s = 100
    with progress.request():
        clock.now_s = 111
        progress.check()
        clock.now_s = 113
        assert progress.hangs
        with pytest.raises(NoToken, match="no token came for 13 s"):
            progress.check()
        progress.wrote()
        progress.check()
        assert not progress.hangs


def test_an_engine_that_refuses_is_not_ready_and_says_why_until_something_comes(progress: EngineProgress) -> None:
    progress.probe_failed(Problem(HTTPStatus.SERVICE_UNAVAILABLE, "the engine does not answer"))
    with pytest.raises(NoToken, match="does not answer"):
        progress.check()
    progress.wrote()
    progress.check()
