"""What is told of the engine: what readers do at it alone, and what was written within the time that counts."""

import math
import random
from itertools import islice

import pytest

from loadtests.engine import plan_readers, warm_of
from loadtests.engine_alone import Plan, Steps, _share
from loadtests.reading import Trace


def plan(*readers: Steps) -> Plan:
    return Plan("http://127.0.0.1:1/v1", [], 0.8, 0.05, 0.0, 60.0, list(readers))


def test_posts_have_as_many_tokens_together_as_the_engine_wrote() -> None:
    traces = [Trace([1.0, 2.0], [[40, 80]]), Trace([3.0], [[120]])]
    assert plan_readers(traces, tokens=60.0) == [([1.0, 2.0], [[10, 20]]), ([3.0], [[30]])]


def test_a_post_without_a_letter_still_has_a_token() -> None:
    assert plan_readers([Trace([1.0], [[0, 10]])], 5.0) == [([1.0], [[1, 5]])]
    assert plan_readers([Trace([1.0], [[0]])], 0.0) == [([1.0], [[1]])]


def test_a_reader_who_was_not_answered_yet_is_left_out() -> None:
    assert plan_readers([Trace([1.0], []), Trace([], [])], 5.0) == []


def test_a_reader_does_the_same_again_and_then_what_anybody_did() -> None:
    both = plan(([1.0, 2.0, 3.0], [[10, 20], [30]]), ([4.0, 5.0], [[40]]))
    steps = list(islice(both.steps(0, random.Random(0)), 50))
    assert steps[:2] == [(1.0, [10, 20]), (2.0, [30])]
    assert steps[2][0] == 3.0
    assert {pause_s for pause_s, _ in steps[3:]} == {2.0, 3.0, 5.0}  # the first pause of a reader is no page
    assert {tuple(lengths) for _, lengths in steps[2:]} == {(10, 20), (30,), (40,)}


def test_half_of_a_short_test_is_for_readers_to_spread() -> None:
    assert (warm_of(10), warm_of(120)) == (5, 20)


@pytest.mark.parametrize(
    ("started", "ended", "tokens"),
    [(10.0, 20.0, 10.0), (5.0, 15.0, 5.0), (15.0, 25.0, 5.0), (0.0, 40.0, 2.5), (0.0, 5.0, 0.0), (25.0, 30.0, 0.0)],
)
def test_only_tokens_that_were_written_within_the_time_count(started: float, ended: float, tokens: float) -> None:
    assert math.isclose(_share((started, ended, 10), 10.0, 20.0), tokens)
