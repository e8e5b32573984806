from hypothesis import given
from hypothesis import strategies as st

from slop.arms import Arm, arm_of


@given(st.text(min_size=1), st.floats(0, 1))
def test_a_reader_stays_in_one_arm(user_id: str, share: float) -> None:
    assert arm_of("default", user_id, share) == arm_of("default", user_id, share)


@given(st.text(min_size=1), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_control_share_only_adds_readers_to_it(user_id: str, one: float, other: float) -> None:
    smaller, larger = sorted((one, other))
    if arm_of("default", user_id, smaller) == Arm.BASE:
        assert arm_of("default", user_id, larger) == Arm.BASE


def test_the_control_share_is_met() -> None:
    arms = [arm_of("default", f"reader-{i}", 0.05) for i in range(20_000)]
    assert 0.045 < arms.count(Arm.BASE) / len(arms) < 0.055


def test_no_control_share_means_no_control() -> None:
    assert {arm_of("default", f"reader-{i}", 0.0) for i in range(1_000)} == {Arm.SOFT}
    assert {arm_of("default", f"reader-{i}", 1.0) for i in range(1_000)} == {Arm.BASE}


def test_tenants_draw_their_control_apart() -> None:
    users = [f"reader-{i}" for i in range(1_000)]
    assert [arm_of("a", u, 0.5) for u in users] != [arm_of("b", u, 0.5) for u in users]
