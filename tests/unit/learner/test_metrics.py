from itertools import product

import pytest

from learner.learning import BatchOutcome, LearnedSignals
from learner.metrics import LearnerMetrics
from slop.redis.profiles import User
from slop.signals import Reason, RejectedRecord
from tests.samples import sample


def reactions() -> dict[tuple[str, str], float]:
    return {
        (arm, observed): sample("slop_learner_reactions_total", arm=arm, observed=observed)
        for arm, observed in product(("soft", "base", "none"), ("liked", "not_liked"))
    }


def outcome(*signals: tuple[int, str, bool, float], refused: int = 0, **counts: int) -> BatchOutcome:
    received_ms, arms, liked, predicted = map(list, zip(*signals, strict=True)) if signals else ([], [], [], [])
    broken = tuple(RejectedRecord(index, Reason.NOT_FINITE, "") for index in range(refused))
    readers = [User("t", "u")] * len(signals)
    learned = LearnedSignals(received_ms, arms, [""] * len(signals), liked, predicted, readers)
    return BatchOutcome(learned, learned=len(signals), rejected=broken, **counts)


def test_reactions_are_counted_by_arm_and_by_what_they_say() -> None:
    before = reactions()
    signals = [(1, "soft", True, 0.7), (2, "soft", True, 0.6), (3, "base", False, 0.5), (4, "", True, 0.5)]
    LearnerMetrics().count(outcome(*signals), now_ms=10)
    grown = {key: value - before[key] for key, value in reactions().items() if value != before[key]}
    assert grown == {("soft", "liked"): 2, ("base", "not_liked"): 1, ("none", "liked"): 1}


@pytest.mark.parametrize(("predicted", "bound"), [(0.04, "0.1"), (0.55, "0.6"), (0.99, "1.0")])
def test_a_prediction_falls_into_its_tenth(predicted: float, bound: str) -> None:
    def until(le: str) -> float:
        return sample("slop_learner_preference_bucket", observed="not_liked", le=le)

    before, below = until(bound), f"{float(bound) - 0.1:.1f}"
    before_below = until(below) if below != "0.0" else 0
    LearnerMetrics().count(outcome((1, "", False, predicted)), now_ms=10)
    assert until(bound) == before + 1
    assert (until(below) if below != "0.0" else 0) == before_below


def test_the_newest_interaction_learned_is_told_and_an_older_one_does_not_turn_it_back() -> None:
    metrics = LearnerMetrics()
    for received_ms in (5_000, 9_000, 7_000):
        metrics.count(outcome((received_ms, "", True, 0.5)), now_ms=10_000)
    metrics.count(outcome(), now_ms=11_000)
    assert sample("slop_learner_last_received_seconds") == 9


def test_what_became_of_signals_and_how_fresh_they_were_is_counted() -> None:
    def counted() -> list[float]:
        outcomes = ("learned", "applied_before", "retried", "superseded", "withdrawn", "other_basis", "refused")
        totals = [sample("slop_learner_signals_total", outcome=name) for name in outcomes]
        return [*totals, sample("slop_learner_freshness_seconds_sum")]

    before = counted()
    batch = outcome(
        (8_000, "", True, 0.5), applied_before=2, retried=3, superseded=4, withdrawn=5, other_basis=6, refused=7
    )
    LearnerMetrics().count(batch, now_ms=10_000)
    assert [after - was for after, was in zip(counted(), before, strict=True)] == pytest.approx(
        [1, 2, 3, 4, 5, 6, 7, 2]
    )
