import numpy as np
import pytest

from slop.lift import ArmOfExperiment, LiftSums, lifts

AUTUMN_SOFT, AUTUMN_BASE = ArmOfExperiment("autumn", "soft"), ArmOfExperiment("autumn", "base")


def of_single_reactions(liked: int, not_liked: int) -> LiftSums:
    """Of readers with one reaction each."""
    return LiftSums(liked + not_liked, liked, not_liked, liked, liked, liked + not_liked)


def test_the_lift_is_the_difference_of_the_liked_shares_with_its_interval() -> None:
    """The figures of infra/prometheus/tests/recording.yml: 240 of 400 and 8 of 20, with two readers more each."""
    sums = {AUTUMN_SOFT: of_single_reactions(239, 159), AUTUMN_BASE: of_single_reactions(7, 11)}
    [(at, lift)] = lifts(sums)
    assert at == AUTUMN_SOFT
    assert lift == pytest.approx((0.2, -0.02, 0.42), abs=1e-4)


def test_twenty_likes_of_one_reader_tell_less_than_those_of_twenty_readers() -> None:
    variances = [sums.adjusted()[1] for sums in (of_single_reactions(20, 0), LiftSums(1, 20, 0, 400, 400, 400))]
    assert variances == pytest.approx([0.002, 0.0729], abs=1e-4)


def test_arms_are_compared_with_the_control_of_their_own_experiment() -> None:
    of = of_single_reactions
    sums = {
        ArmOfExperiment("", "soft"): of(50, 50),
        ArmOfExperiment("", "base"): of(50, 50),
        AUTUMN_SOFT: of(90, 10),
        ArmOfExperiment("autumn", "history"): of(10, 90),
        AUTUMN_BASE: of(50, 50),
    }
    assert {"/".join(at): round(lift.ratio, 1) for at, lift in lifts(sums)} == {
        "/soft": 0.0,
        "autumn/history": -0.4,
        "autumn/soft": 0.4,
    }


def test_without_a_control_the_lift_may_be_anything() -> None:
    [(_, lift)] = lifts({AUTUMN_SOFT: LiftSums()})
    assert lift.ratio == 0
    assert lift.low < -0.9
    assert lift.high > 0.9


def test_the_interval_covers_a_lift_of_nothing_as_often_as_it_should() -> None:
    """Readers differ in how much they like at all, and react several times a day."""
    draws, covered, rounds = np.random.default_rng(0), 0, 400
    for _ in range(rounds):
        sums = {}
        for at, readers in ((AUTUMN_SOFT, 150), (AUTUMN_BASE, 30)):
            n = draws.integers(1, 10, readers)
            likes = draws.binomial(n, draws.beta(2, 2, readers))
            counts = [readers, likes.sum(), (n - likes).sum(), (likes**2).sum(), (likes * n).sum(), (n**2).sum()]
            sums[at] = LiftSums(*map(int, counts))
        [(_, lift)] = lifts(sums)
        covered += lift.low <= 0 <= lift.high
    assert 0.92 < covered / rounds < 0.99
