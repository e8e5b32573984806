from http import HTTPStatus

import pytest

from generation.pulse import EngineProgress, NoToken
from kit.problems import Problem


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pulse(clock: Clock) -> EngineProgress:
    """Of an engine that has just written something, and hangs after 12 s in vain."""
    pulse = EngineProgress(12, clock)
    pulse.came()
    return pulse


def test_an_engine_that_has_never_written_is_not_ready_and_is_asked_at_once() -> None:
    pulse = EngineProgress(12)
    assert pulse.is_due
    with pytest.raises(NoToken, match="no token has come yet"):
        pulse.check()


def test_an_engine_that_nobody_asks_does_not_hang_but_is_asked_after_a_while(
    pulse: EngineProgress, clock: Clock
) -> None:
    clock.now_s = 23
    assert not pulse.is_due
    clock.now_s = 25
    assert pulse.is_due
    clock.now_s = 1_000
    assert pulse.is_due
    pulse.check()


def test_an_engine_that_writes_for_anybody_is_well_and_not_asked_for_more(pulse: EngineProgress, clock: Clock) -> None:
    with pulse.asked(), pulse.asked():
        for second in range(0, 100, 3):
            clock.now_s = second
            assert not pulse.is_due
            pulse.check()
            pulse.came()


def test_while_somebody_waits_it_is_asked_sooner(pulse: EngineProgress, clock: Clock) -> None:
    clock.now_s = 5
    assert not pulse.is_due
    with pulse.asked():
        assert pulse.is_due


def test_an_engine_that_was_asked_in_vain_for_too_long_hangs_until_something_comes(
    pulse: EngineProgress, clock: Clock
) -> None:
    clock.now_s = 100
    with pulse.asked():
        clock.now_s = 111
        pulse.check()
        clock.now_s = 113
        assert pulse.hangs
        with pytest.raises(NoToken, match="no token came for 13 s"):
            pulse.check()
        pulse.came()
        pulse.check()
        assert not pulse.hangs


def test_an_engine_that_refuses_is_not_ready_and_says_why_until_something_comes(pulse: EngineProgress) -> None:
    pulse.failed(Problem(HTTPStatus.SERVICE_UNAVAILABLE, "the engine does not answer"))
    with pytest.raises(NoToken, match="does not answer"):
        pulse.check()
    pulse.came()
    pulse.check()
