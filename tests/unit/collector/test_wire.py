"""Every event and post is checked by itself."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.fields import END_MS, FIRST_MS, MAX_CONTEXT_BYTES
from collector.rejections import MAX_DETAIL, Reason, Rejection
from collector.wire import MAX_TOPICS, PLAIN_TYPES, Dwell, Event, EventsRequest, PostsRequest
from slop.fields import MAX_ID, MAX_TEXT
from slop.interaction_types import INTERACTION_TYPES, MAX_DWELL_MS
from tests.items import event, post

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = ("event_id", "user_id", "post_id", "type", "value", "timestamp", "post", "context", "view_id")


def check_event(item: object) -> Event | Rejection:
    return EventsRequest.model_validate({"events": [item]}).events[0]


def reason_of(item: object) -> Reason:
    checked = check_event(item)
    assert isinstance(checked, Rejection), checked
    return checked.reason


def reason_of_post(item: object) -> Reason:
    checked = PostsRequest.model_validate({"posts": [item]}).posts[0]
    assert isinstance(checked, Rejection), checked
    return checked.reason


@pytest.mark.parametrize("kind", INTERACTION_TYPES)
def test_every_type_of_the_table_is_accepted(kind: str) -> None:
    values = INTERACTION_TYPES[kind].value
    for value in (values.low, values.high) if values else (None,):
        checked = check_event(event(type=kind, value=value))
        assert not isinstance(checked, Rejection)
        assert (checked.type, checked.value) == (kind, value)


@pytest.mark.parametrize("kind", PLAIN_TYPES)
def test_a_reaction_needs_no_value_and_has_none(kind: str) -> None:
    checked = check_event(event(type=kind))
    assert not isinstance(checked, Rejection)
    assert (checked.type, checked.value) == (kind, None)
    assert reason_of(event(type=kind, value=1.0)) == Reason.VALUE


@given(st.floats(0, MAX_DWELL_MS) | st.integers(0, MAX_DWELL_MS))
def test_any_dwell_from_zero_to_a_day_is_accepted_unchanged(value: float) -> None:
    checked = check_event(event(type="dwell", value=value))
    assert not isinstance(checked, Rejection)
    assert checked.value == value


@given(st.floats().filter(lambda value: not 0 <= value <= MAX_DWELL_MS))
def test_any_other_dwell_is_rejected(value: float) -> None:
    assert reason_of(event(type="dwell", value=value)) == Reason.VALUE


@given(st.floats())
def test_a_rating_is_accepted_from_minus_one_to_one_alone(value: float) -> None:
    rejected = isinstance(check_event(event(type="rate", value=value)), Rejection)
    assert rejected == (math.isnan(value) or abs(value) > 1)


@pytest.mark.parametrize("value", [5e-324, 1e-300, 0.0, -0.0, 0.1, MAX_DWELL_MS])
def test_a_dwell_however_short_is_accepted(value: float) -> None:
    assert not isinstance(check_event(event(type="dwell", value=value)), Rejection)


def test_a_dwell_may_name_its_view() -> None:
    checked = check_event(event(type="dwell", value=1.0, view_id="v"))
    assert isinstance(checked, Dwell)
    assert checked.view_id == "v"
    assert not isinstance(check_event(event(type="dwell", value=1.0, view_id=None)), Rejection)


@pytest.mark.parametrize("value", ["", "v" * (MAX_ID + 1), "v\x00", 7])
def test_a_dwell_of_a_view_that_is_no_id_is_rejected(value: object) -> None:
    assert reason_of(event(type="dwell", value=1.0, view_id=value)) == Reason.VIEW_ID


@pytest.mark.parametrize("kind", ["dwell", "rate"])
@pytest.mark.parametrize("value", [None, "1", True, [1]])
def test_a_value_that_is_no_number_is_rejected(kind: str, value: object) -> None:
    assert reason_of(event(type=kind, value=value)) == Reason.VALUE


@pytest.mark.parametrize("kind", ["dwell", "rate"])
def test_dwell_and_rate_need_a_value(kind: str) -> None:
    assert reason_of(event(type=kind)) == Reason.VALUE


@pytest.mark.parametrize("kind", ["clack", "LIKE", "", None, 3, ["like"]])
def test_an_unknown_type_is_rejected_with_the_known_ones(kind: object) -> None:
    checked = check_event(event(type=kind))
    assert isinstance(checked, Rejection)
    assert checked.reason == Reason.TYPE
    assert all(known in checked.error for known in INTERACTION_TYPES)


@pytest.mark.parametrize("member", ["event_id", "user_id", "post_id"])
@pytest.mark.parametrize(
    "value",
    ["", "a" * (MAX_ID + 1), "a" * 10_000, "a\x00", "\n", "a\tb", "a\x7f", "\x85", "a\u2028b", "\ud800", None, 7],
    ids=ascii,
)
def test_an_id_that_is_empty_too_long_or_has_control_characters_is_rejected(member: str, value: object) -> None:
    assert reason_of(event(**{member: value})) == f"invalid_{member}"


@pytest.mark.parametrize("member", ["event_id", "user_id", "post_id", "type"])
def test_no_required_member_may_be_missing(member: str) -> None:
    item = event()
    del item[member]
    assert reason_of(item) == f"invalid_{member}"


@pytest.mark.parametrize("value", ["a" * MAX_ID, "ü/{}%#", "名前", "👩‍🚀", " "])
def test_any_printable_id_is_accepted(value: str) -> None:
    checked = check_event(event(user_id=value))
    assert not isinstance(checked, Rejection)
    assert checked.user_id == value


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        ("2026-01-31T12:00:00Z", 1_769_860_800_000),
        ("2026-01-31T13:00:00.250+01:00", 1_769_860_800_250),
        (1_769_860_800_000, 1_769_860_800_000),
        (1_769_860_800_000.4, 1_769_860_800_000),
        (FIRST_MS, FIRST_MS),
        (None, None),
    ],
)
def test_a_timestamp_is_iso_8601_or_milliseconds(value: object, milliseconds: int | None) -> None:
    checked = check_event(event(timestamp=value))
    assert not isinstance(checked, Rejection)
    assert checked.timestamp == milliseconds


@pytest.mark.parametrize(
    "value",
    [
        *("2026-01-31T12:00:00", "yesterday", "", "1769860800000"),
        *("1999-12-31T23:59:59Z", "2100-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59"),
        *(FIRST_MS - 1, END_MS, 1_769_860_800, -1, math.nan, math.inf, True, [], {}),
    ],
)
def test_a_timestamp_without_offset_of_another_form_or_far_away_is_rejected(value: object) -> None:
    assert reason_of(event(timestamp=value)) == Reason.TIMESTAMP


@pytest.mark.parametrize("text", ["", "a" * (MAX_TEXT + 1), "a" * 100_000, "a\x00b", "\x1b[31m", "\udfff", None, 5])
def test_a_text_that_is_empty_too_long_or_has_control_characters_is_rejected(text: object) -> None:
    assert reason_of(event(post={"text": text})) == Reason.POST
    assert reason_of_post(post(text=text)) == Reason.TEXT


def test_a_text_may_have_tabs_and_line_breaks_and_be_as_long_as_the_limit() -> None:
    text = "a\tb\r\n" + "ü" * (MAX_TEXT - 5)
    checked = check_event(event(post={"text": text}))
    assert not isinstance(checked, Rejection)
    assert checked.post is not None
    assert checked.post.text == text


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    "context", [[], "a", {"a": math.nan}, {"a": "x" * MAX_CONTEXT_BYTES}, nested(900)], ids=lambda c: str(c)[:20]
)
def test_a_context_that_is_no_object_too_large_too_deep_or_not_json_is_rejected(context: object) -> None:
    assert reason_of(event(context=context)) == Reason.CONTEXT


def test_unknown_members_are_ignored() -> None:
    assert not isinstance(check_event(event(colour="red")), Rejection)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"post_id": ""}, Reason.POST_ID),
        ({"author": "a" * (MAX_ID + 1)}, Reason.AUTHOR),
        ({"topics": ["a"] * (MAX_TOPICS + 1)}, Reason.TOPICS),
        ({"topics": ["a\x00"]}, Reason.TOPICS),
        ({"topics": "food"}, Reason.TOPICS),
    ],
)
def test_a_post_with_a_bad_member_is_rejected_for_it(members: dict[str, Any], reason: Reason) -> None:
    assert reason_of_post(post(**members)) == reason


@pytest.mark.parametrize("item", [None, 1, "a", [], [event()]])
def test_an_item_that_is_no_object_is_rejected(item: object) -> None:
    assert reason_of(item) == Reason.ITEM
    assert reason_of_post(item) == Reason.ITEM


@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_a_bad_event_costs_no_other(goods: list[bool]) -> None:
    items = [event(event_id=f"e-{index}", type="like" if good else "?") for index, good in enumerate(goods)]
    checked = EventsRequest.model_validate({"events": items}).events
    assert [not isinstance(item, Rejection) for item in checked] == goods


@given(st.dictionaries(st.sampled_from(MEMBERS), ANYTHING) | ANYTHING)
def test_whatever_is_sent_is_either_an_event_or_a_rejection_with_a_short_reason(item: object) -> None:
    merged = event() | item if isinstance(item, dict) else item
    checked = check_event(merged)
    assert isinstance(checked, Event | Rejection)
    if isinstance(checked, Rejection):
        assert len(checked.detail) <= MAX_DETAIL
        assert checked.item is merged
