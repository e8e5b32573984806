"""Before and after: what was learned meanwhile, and how soon."""

import math

import pytest

from loadtests.facts import Facts, added_up, between, quantile
from loadtests.readings import Reading

BUCKETS = {0.1: 0.0, 0.5: 50.0, 1.0: 90.0, math.inf: 100.0}


@pytest.mark.parametrize(("share", "bound"), [(0.25, 0.3), (0.5, 0.5), (0.7, 0.75), (0.95, 1.0)])
def test_quantiles_are_interpolated_within_their_bucket(share: float, bound: float) -> None:
    assert quantile(BUCKETS, share) == pytest.approx(bound)


@pytest.mark.parametrize("buckets", [{}, {0.1: 0.0, math.inf: 0.0}])
def test_nothing_observed_has_no_quantile(buckets: dict[float, float]) -> None:
    assert quantile(buckets, 0.5) is None


def test_the_buckets_of_several_processes_are_added_up() -> None:
    readings = [Reading({"le": le, "instance": i}, count) for i in "ab" for le, count in (("0.1", 2.0), ("+Inf", 3.0))]
    assert added_up(readings) == {0.1: 4.0, math.inf: 6.0}


def test_only_what_came_meanwhile_counts() -> None:
    before = Facts(10, 4, {0.1: 4.0, 1.0: 4.0, math.inf: 4.0})
    after = Facts(30, 12, {0.1: 4.0, 1.0: 12.0, math.inf: 12.0})
    work = between(before, after)
    assert (work.accepted, work.learned) == (20, 8)
    assert work.freshness_p50_s == pytest.approx(0.55)


def test_what_could_not_be_asked_is_unknown_and_not_nought() -> None:
    work = between(Facts(10, None, None), Facts(30, 12, {1.0: 2.0, math.inf: 2.0}))
    assert (work.accepted, work.learned, work.freshness_p95_s) == (20, None, None)


def test_what_says_nothing_and_what_the_learner_is_done_with_is_not_unlearned() -> None:
    before = Facts(10, 4, None, silent=5, handled=5)
    assert between(before, Facts(30, 12, None, silent=12, handled=16)).unlearned == 2
    assert between(before, Facts(30, 12, None, silent=None, handled=16)).unlearned is None
