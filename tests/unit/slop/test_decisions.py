from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slop.decisions import Decision, decision_of
from slop.interaction_types import INTERACTION_TYPES
from slop.v1.interaction_pb2 import Interaction

NOW = 1_790_000_000_000
IDS = st.text(max_size=6)


def decided(kind: str, **members: Any) -> Decision | None:
    usual = {"tenant": "t", "user_id": "u", "post_id": "p", "event_id": "e", "received_at_ms": NOW}
    return decision_of(Interaction(type=INTERACTION_TYPES[kind].wire_name, **usual | members))


def key(kind: str, **members: Any) -> int:
    decision = decided(kind, **members)
    assert decision is not None
    return decision.key


def test_what_is_said_of_the_liking_of_a_post_is_one_decision() -> None:
    assert len({key(kind) for kind in ("like", "unlike", "dislike", "undislike")}) == 1
    assert key("save") == key("unsave") != key("like")


def test_what_has_nothing_to_do_with_each_other_is_decided_apart() -> None:
    others = [
        kind for kind in INTERACTION_TYPES if kind not in {"impression", "unlike", "dislike", "undislike", "unsave"}
    ]
    assert len({key(kind) for kind in others}) == len(others)


@pytest.mark.parametrize("kind", ["unlike", "undislike", "unsave"])
def test_taking_back_withdraws(kind: str) -> None:
    decision = decided(kind)
    assert decision is not None
    assert decision.withdraws


def test_an_impression_and_a_type_of_a_later_version_decide_nothing() -> None:
    assert decided("impression") is None
    assert decision_of(Interaction(type=999)) is None  # type: ignore[arg-type]


def test_another_event_on_the_same_post_is_the_same_decision() -> None:
    assert key("like", event_id="e1") == key("like", event_id="e2")


@pytest.mark.parametrize("member", ["tenant", "user_id", "post_id"])
def test_another_reader_or_post_is_another_decision(member: str) -> None:
    assert key("like") != key("like", **{member: "another"})


def test_the_heartbeats_of_a_view_are_one_decision_and_another_view_is_another() -> None:
    assert key("dwell", view_id="v", event_id="e1") == key("dwell", view_id="v", event_id="e2")
    assert key("dwell", view_id="v") != key("dwell", view_id="w")


def test_a_dwell_without_a_view_is_one_by_its_event_whatever_views_are_called() -> None:
    assert key("dwell", event_id="e1", value=5.0) == key("dwell", event_id="e1", value=9.0)
    assert key("dwell", event_id="e1") != key("dwell", event_id="e2")
    assert key("dwell", event_id="v") != key("dwell", view_id="v")


def test_a_decision_is_dated_by_the_clients_clock_and_without_one_by_the_collectors() -> None:
    assert decided("like", occurred_at_ms=NOW - 5_000) == Decision(key("like"), NOW - 5_000, withdraws=False)
    assert decided("like") == Decision(key("like"), NOW, withdraws=False)


def test_a_clock_in_the_future_dates_a_decision_when_it_was_received() -> None:
    ahead = decided("like", occurred_at_ms=NOW + 10**12)
    later = decided("unlike", received_at_ms=NOW + 1)
    assert ahead is not None
    assert later is not None
    assert ahead.at_ms == NOW < later.at_ms


@given(st.lists(st.tuples(IDS, IDS, IDS), min_size=2, max_size=2, unique=True))
def test_ids_do_not_run_into_each_other(ids: list[tuple[str, str, str]]) -> None:
    one, other = (key("like", tenant=tenant, user_id=user, post_id=post) for tenant, user, post in ids)
    assert one != other
    assert min(one, other) > 0
    assert max(one, other) < 2**64


def test_a_decision_has_the_same_digest_for_ever() -> None:
    assert key("like") == 14088672009206898679
