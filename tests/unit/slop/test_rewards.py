import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slop.rewards import MS_TO_START, RATE_WEIGHT, WEIGHTS, Reward, Rewards
from slop.v1.interaction_pb2 import Interaction, InteractionType
from slop.words import MS_A_WORD

TEXT = "ten words that somebody reads at the usual pace today"
USUAL = Rewards.of({})
EXPECTED_MS = MS_TO_START + 10 * MS_A_WORD
DWELL_WEIGHT = WEIGHTS["dwell"]


def dwell(milliseconds: float, text: str = TEXT) -> Reward | None:
    return USUAL.reward_of(Interaction(type=InteractionType.INTERACTION_TYPE_DWELL, value=milliseconds), text)


def kind(name: str, value: float | None = None) -> Reward | None:
    return USUAL.reward_of(Interaction(type=InteractionType.Value(f"INTERACTION_TYPE_{name}"), value=value), TEXT)


@pytest.mark.parametrize("name", ["LIKE", "SHARE", "COMMENT", "SAVE", "CLICK", "OPEN", "FOLLOW"])
def test_what_people_do_with_posts_they_like_is_a_positive_label(name: str) -> None:
    reward = kind(name)
    assert reward is not None
    assert reward.label == 1
    assert reward.weight > 0


@pytest.mark.parametrize("name", ["DISLIKE", "SKIP", "HIDE", "MUTE", "REPORT"])
def test_what_people_do_with_posts_they_do_not_like_is_a_negative_label(name: str) -> None:
    reward = kind(name)
    assert reward is not None
    assert reward.label == 0
    assert reward.weight > 0


@pytest.mark.parametrize("name", ["IMPRESSION", "UNSPECIFIED"])
def test_an_impression_says_nothing(name: str) -> None:
    assert kind(name) is None


@pytest.mark.parametrize("name", ["UNLIKE", "UNDISLIKE", "UNSAVE"])
def test_what_takes_a_decision_back_says_nothing_by_itself(name: str) -> None:
    assert kind(name) is None


def test_a_click_says_less_than_opening_a_post_and_that_less_than_liking_it() -> None:
    click, opened, like = kind("CLICK"), kind("OPEN"), kind("LIKE")
    assert click is not None
    assert opened is not None
    assert like is not None
    assert click.weight < opened.weight < like.weight


def test_every_type_on_the_wire_is_decided_on() -> None:
    silent = {"IMPRESSION", "UNSPECIFIED", "UNLIKE", "UNDISLIKE", "UNSAVE"}
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


@given(st.floats(allow_nan=False, allow_infinity=False), st.text(st.characters(), max_size=200))
@example(5e-324, "a")
@example(1.7976931348623157e308, "")
@example(2.0, "今日は\ud800")
def test_any_time_with_any_text_is_a_label_and_a_finite_weight(milliseconds: float, text: str) -> None:
    reward = dwell(milliseconds, text)
    if reward is not None:
        assert reward.label in {0.0, 1.0}
        assert 0 < reward.weight <= DWELL_WEIGHT


@pytest.mark.parametrize("text", ["今天天气很好我们去公园散步", "วันนี้ฉันไปเดินเล่นที่สวนสาธารณะ"])
def test_a_text_without_spaces_takes_more_than_a_glance_to_read(text: str) -> None:
    assert dwell(MS_TO_START + MS_A_WORD, text) == Reward(0.0, DWELL_WEIGHT)


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


def test_a_product_changes_the_weights_of_some_signals() -> None:
    changed = Rewards.of({"share": 3.0, "dwell": 1.0, "skip": 0.0})
    share = Interaction(type=InteractionType.INTERACTION_TYPE_SHARE)
    skip = Interaction(type=InteractionType.INTERACTION_TYPE_SKIP)
    stay = Interaction(type=InteractionType.INTERACTION_TYPE_DWELL, value=9 * EXPECTED_MS)
    assert changed.reward_of(share, TEXT) == Reward(1.0, 3.0)
    assert changed.reward_of(stay, TEXT) == Reward(1.0, 1.0)
    assert changed.reward_of(skip, TEXT) is None


@pytest.mark.parametrize(
    "wrong", [{"likes": 1.0}, {"unlike": 1.0}, {"like": -1.0}, {"like": float("nan")}, {"like": 1e9}]
)
def test_weights_that_mean_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"signal|weights"):
        Rewards.of(wrong)


def test_a_type_of_a_later_version_says_nothing() -> None:
    assert USUAL.reward_of(Interaction(type=999), TEXT) is None  # type: ignore[arg-type]
