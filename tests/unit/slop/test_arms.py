from collections import Counter
from collections.abc import Mapping
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slop.arms import ARMS, CONTROL, Arm, arm_of, soft_or_control, usable_weights

READERS = 4_000
WEIGHTS = st.dictionaries(st.sampled_from(Arm), st.floats(0.01, 100), min_size=1)
NAMES = st.sampled_from(["", "one", "another"])


def assigned(weights: Mapping[Arm, float], experiment: str = "") -> list[Arm]:
    return [arm_of("default", f"reader-{number}", weights, experiment) for number in range(READERS)]


def test_the_table_has_all_arms() -> None:
    assert ARMS.keys() == set(Arm)


@given(st.text(min_size=1), WEIGHTS, NAMES)
def test_a_reader_stays_in_one_arm(user_id: str, weights: dict[Arm, float], experiment: str) -> None:
    arm = arm_of("default", user_id, weights, experiment)
    assert arm == arm_of("default", user_id, dict(reversed(weights.items())), experiment)
    assert arm in weights or arm == CONTROL


@given(st.text(min_size=1), WEIGHTS, NAMES, st.sampled_from([0.25, 2.0, 1024.0]))
def test_only_the_ratio_of_weights_counts(user_id: str, weights: dict[Arm, float], name: str, factor: float) -> None:
    larger = {arm: factor * weight for arm, weight in weights.items()}
    assert arm_of("default", user_id, weights, name) == arm_of("default", user_id, larger, name)


@given(st.text(min_size=1), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_control_share_only_adds_readers_to_it(user_id: str, one: float, other: float) -> None:
    smaller, larger = sorted((one, other))
    if arm_of("default", user_id, soft_or_control(smaller)) == Arm.BASE:
        assert arm_of("default", user_id, soft_or_control(larger)) == Arm.BASE


@pytest.mark.parametrize(
    "weights",
    [
        soft_or_control(0.05),
        {Arm.BASE: 1.0, Arm.SOFT: 2.0, Arm.HISTORY: 2.0},
        dict.fromkeys(Arm, 1.0),
        {Arm.PERSONA: 9.0, Arm.CROWD: 1.0},
    ],
)
@pytest.mark.parametrize("experiment", ["", "autumn"])
def test_arms_have_their_shares_within_binomial_bounds(weights: dict[Arm, float], experiment: str) -> None:
    counts, total = Counter(assigned(weights, experiment)), sum(weights.values())
    for arm in Arm:
        share = weights.get(arm, 0.0) / total
        assert abs(counts[arm] - READERS * share) <= 4 * sqrt(READERS * share * (1 - share)), (arm, counts)


def test_an_arm_that_is_added_moves_readers_to_itself_alone() -> None:
    before = assigned({Arm.BASE: 1.0, Arm.SOFT: 5.0, Arm.CROWD: 4.0})
    after = assigned({Arm.BASE: 1.0, Arm.SOFT: 4.0, Arm.CROWD: 3.2, Arm.HISTORY: 1.8})
    moved = [(was, now) for was, now in zip(before, after, strict=True) if was != now]
    assert {now for _, now in moved} == {Arm.HISTORY}
    assert {was for was, _ in moved} == {Arm.SOFT, Arm.CROWD}


def test_no_control_share_means_no_control() -> None:
    assert set(assigned(soft_or_control(0.0))) == {Arm.SOFT}
    assert set(assigned(soft_or_control(1.0))) == {Arm.BASE}


def test_the_control_of_a_share_has_the_readers_that_it_always_had() -> None:
    control = [f"reader-{number}" for number, arm in enumerate(assigned(soft_or_control(0.05))) if arm == Arm.BASE]
    assert control[:5] == [f"reader-{number}" for number in (6, 12, 15, 27, 42)]


def test_tenants_and_experiments_assign_apart() -> None:
    users = [f"reader-{i}" for i in range(1_000)]
    half = soft_or_control(0.5)
    assert [arm_of("a", u, half) for u in users] != [arm_of("b", u, half) for u in users]
    assert [arm_of("a", u, half) for u in users] != [arm_of("a", u, half, "autumn") for u in users]


@pytest.mark.parametrize("weights", [{}, {Arm.SOFT: 0.0}, {Arm.SOFT: -1.0}, {Arm.SOFT: float("nan")}])
def test_weights_that_assign_nobody_are_refused(weights: dict[Arm, float]) -> None:
    with pytest.raises(ValueError, match="weight"):
        usable_weights(weights)
