import pytest
from hypothesis import given
from hypothesis import strategies as st

from slop.recent import (
    FEWEST_KEPT,
    LATEST_S,
    LONGEST_ID,
    MOST_DECISIONS,
    MOST_LIKED,
    InvalidRecent,
    Recent,
    RememberedDecision,
    Window,
    content_of,
    event_digest,
    liked_posts,
    seconds,
)

WINDOW = Window(ms=10_000_000, events=100)
WITH_LIKED = Recent(1, liked=("a", "b")).to_bytes()


def floats() -> st.SearchStrategy[float]:
    return st.floats(0, 1e6, width=32)


def decisions(blocks: int) -> st.SearchStrategy[RememberedDecision]:
    return st.builds(
        RememberedDecision,
        st.integers(-(2**63), 2**63 - 1),
        st.integers(0, LATEST_S),
        floats(),
        floats(),
        st.integers(0, 2**32 - 1),
        st.tuples(*[floats()] * (2 * blocks)),
    )


@given(st.data(), st.integers(1, 3))
def test_what_is_remembered_comes_back_as_it_was_stored(data: st.DataObject, blocks: int) -> None:
    recent = Recent(blocks, steps=data.draw(st.integers(0, 2**32 - 1)))
    held = data.draw(st.dictionaries(st.integers(1, 2**64 - 1), decisions(blocks), max_size=FEWEST_KEPT))
    for key, decision in held.items():
        recent.decide(key, decision, WINDOW)
    for post_id in data.draw(st.lists(st.text(max_size=300), max_size=2 * MOST_LIKED)):
        recent.like(post_id, WINDOW)
    recent.see(event_digest("e"), 5_000, WINDOW)
    back = Recent.from_bytes(recent.to_bytes(), blocks)
    assert back == recent
    assert liked_posts(recent.to_bytes()) == recent.liked
    assert back.was_seen(event_digest("e"), 5_000, WINDOW)
    for key, decision in held.items():
        assert back.decision(key, 1_000 * decision.received_s, WINDOW) == decision


def test_nothing_stored_is_nothing_remembered() -> None:
    assert Recent.from_bytes(None, 2) == Recent(2)


@pytest.mark.parametrize(
    "data", [b"", b"\x01", Recent(2).to_bytes(), Recent(1).to_bytes() + b"x", b"\x02" + bytes(7), WITH_LIKED[:-1]]
)
def test_bytes_of_another_form_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidRecent):
        Recent.from_bytes(data, 1)


def test_a_decision_takes_the_place_of_the_one_before() -> None:
    recent = Recent(1)
    for step in (1, 2):
        recent.decide(9, RememberedDecision(step, 0, 1.0, 1.0, step, (0.5, 1.0)), WINDOW)
    assert recent.decision(9, 0, WINDOW) == RememberedDecision(2, 0, 1.0, 1.0, 2, (0.5, 1.0))
    assert len(recent.decisions) == 40


def test_of_decisions_so_many_are_held_and_the_latest_stay() -> None:
    recent = Recent(1)
    for key in range(1, MOST_DECISIONS + 3):
        recent.decide(key, RememberedDecision(0, 0), WINDOW)
    assert [recent.decision(key, 0, WINDOW) is None for key in (1, 2, 3, MOST_DECISIONS + 2)] == [
        True,
        True,
        False,
        False,
    ]


def test_a_decision_is_held_for_the_window_by_received_time() -> None:
    recent = Recent(1)
    recent.decide(9, RememberedDecision(0, 100), WINDOW)
    assert recent.decision(9, 100_000 + WINDOW.ms, WINDOW) is not None
    assert recent.decision(9, 101_000 + WINDOW.ms, WINDOW) is None


def test_a_decision_received_far_in_the_future_takes_none_of_the_newest_away() -> None:
    recent = Recent(1)
    for key in range(1, FEWEST_KEPT):
        recent.decide(key, RememberedDecision(0, 100), WINDOW)
    recent.decide(500, RememberedDecision(0, LATEST_S), WINDOW)
    assert all(recent.decision(key, 100_000, WINDOW) for key in range(1, FEWEST_KEPT))


@given(st.lists(st.binary(min_size=2, max_size=2), min_size=1, max_size=30), st.binary(min_size=2, max_size=2))
def test_an_event_is_found_only_where_it_was_put(bits: list[bytes], asked: bytes) -> None:
    """Digests of repeating bytes lie across the borders of records, too."""
    recent = Recent(1)
    for two in bits:
        recent.see(two * 4, int.from_bytes(two, "little") * 1_000, WINDOW)
    assert recent.was_seen(asked * 4, 0, WINDOW) == (asked in bits)


def test_the_same_event_that_says_something_else_is_another() -> None:
    contents = [b"", content_of(1, 1.0, 0.5, False), content_of(1, 1.0, 0.25, False), content_of(1, 1.0, 0.5, True)]
    assert len({event_digest("e", content) for content in contents}) == 4


@pytest.mark.parametrize(
    ("milliseconds", "expected"), [(-(2**63), 0), (-1, 0), (999, 0), (1_000, 1), (2**63 - 1, LATEST_S)]
)
def test_times_are_whole_seconds_within_range(milliseconds: int, expected: int) -> None:
    assert seconds(milliseconds) == expected


def test_of_liked_posts_so_many_are_held_and_those_liked_last_stay() -> None:
    recent = Recent(1)
    for number in range(MOST_LIKED + 2):
        recent.like(f"p{number}", WINDOW)
    recent.like("p5", WINDOW)
    assert recent.liked == (*(f"p{number}" for number in range(2, MOST_LIKED + 2) if number != 5), "p5")
    recent.no_longer_like("p2")
    recent.no_longer_like("never")
    assert recent.liked[0] == "p3"


def test_an_id_that_is_too_long_is_not_remembered() -> None:
    recent = Recent(1)
    recent.like("\N{BANANA}" * (LONGEST_ID // 4), WINDOW)
    recent.like("\N{BANANA}" * (LONGEST_ID // 4) + "x", WINDOW)
    assert len(recent.liked) == 1


@pytest.mark.parametrize("size", [0, 4, 5, 12, 2**16 - 1])
def test_liked_posts_of_another_size_than_they_say_are_refused(size: int) -> None:
    data = WITH_LIKED[:8] + size.to_bytes(2, "little") + WITH_LIKED[10:]
    with pytest.raises(InvalidRecent):
        Recent.from_bytes(data, 1)
    if size:
        with pytest.raises(InvalidRecent):
            liked_posts(data)
