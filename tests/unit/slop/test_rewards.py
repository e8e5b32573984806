import pytest
from hypothesis import given
from hypothesis import strategies as st

from slop.rewards import DWELL_WEIGHT, MS_A_WORD, MS_TO_START, RATE_WEIGHT, Reward, reward_of
from slop.v1.interaction_pb2 import Interaction, InteractionType

TEXT = "ten words that somebody reads at the usual pace today"
EXPECTED_MS = MS_TO_START + 10 * MS_A_WORD


def dwell(milliseconds: float) -> Reward | None:
    return reward_of(Interaction(type=InteractionType.INTERACTION_TYPE_DWELL, value=milliseconds), TEXT)


def kind(name: str, value: float | None = None) -> Reward | None:
    return reward_of(Interaction(type=InteractionType.Value(f"INTERACTION_TYPE_{name}"), value=value), TEXT)


@pytest.mark.parametrize("name", ["LIKE", "SHARE", "COMMENT", "SAVE"])
def test_what_people_do_with_posts_they_like_is_a_positive_label(name: str) -> None:
    reward = kind(name)
    assert reward is not None
    assert reward.label == 1
    assert reward.weight > 0


@pytest.mark.parametrize("name", ["UNLIKE", "DISLIKE", "SKIP", "HIDE", "REPORT"])
def test_what_people_do_with_posts_they_do_not_like_is_a_negative_label(name: str) -> None:
    reward = kind(name)
    assert reward is not None
    assert reward.label == 0
    assert reward.weight > 0


@pytest.mark.parametrize("name", ["IMPRESSION", "UNSPECIFIED"])
def test_an_impression_says_nothing(name: str) -> None:
    assert kind(name) is None


def test_every_type_on_the_wire_is_decided_on() -> None:
    silent = {"IMPRESSION", "UNSPECIFIED"}
    names = {name.removeprefix("INTERACTION_TYPE_") for name in InteractionType.keys()}  # noqa: SIM118
    assert {name for name in names if kind(name, 0.5) is None} == silent


def test_twice_the_reading_time_is_fully_liked_and_half_of_it_fully_skipped() -> None:
    assert dwell(2 * EXPECTED_MS) == Reward(1.0, DWELL_WEIGHT)
    assert dwell(EXPECTED_MS / 2) == Reward(0.0, DWELL_WEIGHT)
    assert dwell(100 * EXPECTED_MS) == Reward(1.0, DWELL_WEIGHT)


def test_exactly_the_reading_time_says_nothing() -> None:
    assert dwell(EXPECTED_MS) is None


def test_no_time_at_all_is_fully_skipped() -> None:
    assert dwell(0) == Reward(0.0, DWELL_WEIGHT)


@given(st.floats(1, 1e6), st.floats(1, 1e6))
def test_longer_dwell_never_means_less_liking(a: float, b: float) -> None:
    def liking(milliseconds: float) -> float:
        reward = dwell(milliseconds)
        return 0.0 if reward is None else (2 * reward.label - 1) * reward.weight

    assert liking(min(a, b)) <= liking(max(a, b))


@given(st.floats(-1, 1))
def test_a_rating_is_a_graded_label_of_one_weight(value: float) -> None:
    assert kind("RATE", value) == Reward((1 + value) / 2, RATE_WEIGHT)


def test_the_ends_and_the_middle_of_ratings() -> None:
    assert [reward.label for value in (-1.0, 0.0, 1.0) if (reward := kind("RATE", value))] == [0.0, 0.5, 1.0]
