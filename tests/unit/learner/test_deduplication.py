"""What is new of a user's signals: replays, retries, the window of events; what they decide is in test_decisions."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.deduplication import SignalFate, SignalJudge
from slop.profiles import MOST_SOURCES, Applied, Profile
from slop.recent import FEWEST_KEPT, Recent, Window
from slop.v1.signal_pb2 import Signal
from tests.basis import random_basis
from tests.signals import DAY_MS, NOON_MS, a_signal

BASIS = random_basis()
WINDOW = Window(7 * DAY_MS, events=100)
NEWBORN = Profile.new(BASIS.version, BASIS.prior(1.0, 0.5, 1.0))


def fates(signals: list[Signal], known: SignalJudge) -> list[SignalFate]:
    return [known.judge(signal).fate for signal in signals]


def taken(signals: list[Signal], known: SignalJudge) -> list[Signal]:
    """Those that are learned, in order."""
    return [signal for signal in signals if known.judge(signal).fate is SignalFate.LEARNED]


def offsets(signals: list[Signal]) -> list[int]:
    return [signal.source.offset for signal in signals]


def fresh() -> SignalJudge:
    return SignalJudge.of(NEWBORN, Recent(1), WINDOW)


def stored_and_read_again(known: SignalJudge) -> SignalJudge:
    """As if the profile had been written after the last signal."""
    profile = replace(NEWBORN, updated_at_ms=known.newest_ms, applied=known.sources())
    return SignalJudge.of(profile, Recent.from_bytes(known.recent.to_bytes(), 1), WINDOW)


def test_a_signal_written_twice_is_taken_once() -> None:
    signals = [a_signal(BASIS, offset) for offset in (0, 1, 0, 1, 2)]
    assert offsets(taken(signals, fresh())) == [0, 1, 2]


def test_an_older_offset_stays_old_after_the_profile_was_stored() -> None:
    known = SignalJudge.of(replace(NEWBORN, applied=(Applied(1, 0, 5),)), Recent(1), WINDOW)
    assert offsets(taken([a_signal(BASIS, offset) for offset in (4, 5, 6)], known)) == [6]


def test_a_log_that_was_created_anew_is_learned_from_its_first_offset() -> None:
    known = fresh()
    taken([a_signal(BASIS, offset) for offset in range(60)], known)
    known = stored_and_read_again(known)
    anew = [a_signal(BASIS, offset, event=f"new-{offset}", epoch=2) for offset in range(50)]
    assert len(taken(anew, known)) == 50
    assert fates(anew, stored_and_read_again(known)) == [SignalFate.APPLIED_BEFORE] * 50


def test_a_replay_of_the_old_partition_is_still_known_when_there_are_more_partitions() -> None:
    old = [a_signal(BASIS, offset, partition=0) for offset in range(5)]
    new = [a_signal(BASIS, offset, partition=9) for offset in range(3)]
    known = fresh()
    assert len(taken([*old, *new], known)) == 8
    known.recent.events = b""  # so that only sources tell
    assert fates([*old, *new], stored_and_read_again(known)) == [SignalFate.APPLIED_BEFORE] * 8


def test_so_many_sources_are_known_and_the_latest_stay() -> None:
    known = fresh()
    taken([a_signal(BASIS, 3, epoch=epoch, event=str(epoch)) for epoch in range(1, MOST_SOURCES + 6)], known)
    assert [at.epoch for at in known.sources()] == list(range(6, MOST_SOURCES + 6))


def test_a_retry_within_the_window_is_left_out() -> None:
    first = a_signal(BASIS, 0, event="e", at_ms=NOON_MS)
    retry = a_signal(BASIS, 1, event="e", at_ms=NOON_MS + WINDOW.ms)
    assert fates([first, retry], fresh()) == [SignalFate.LEARNED, SignalFate.RETRIED]


def test_an_event_id_is_free_again_a_second_after_the_window() -> None:
    first = a_signal(BASIS, 0, event="e", at_ms=NOON_MS)
    later = a_signal(BASIS, 1, event="e", at_ms=NOON_MS + WINDOW.ms + 1_000)
    assert taken([first, later], fresh()) == [first, later]


def test_a_retry_is_known_from_what_is_stored() -> None:
    known = fresh()
    taken([a_signal(BASIS, 0, event="e")], known)
    signals = [a_signal(BASIS, 1, event="e"), a_signal(BASIS, 2, event="f")]
    assert fates(signals, stored_and_read_again(known)) == [SignalFate.RETRIED, SignalFate.LEARNED]


def test_the_newest_time_is_kept_when_collectors_clocks_differ() -> None:
    known = fresh()
    taken([a_signal(BASIS, 0, at_ms=NOON_MS + 500), a_signal(BASIS, 1, at_ms=NOON_MS)], known)
    assert known.newest_ms == NOON_MS + 500


def test_of_events_within_the_window_so_many_of_the_newest_are_remembered() -> None:
    known = fresh()
    taken([a_signal(BASIS, offset, at_ms=NOON_MS) for offset in range(WINDOW.events + 5)], known)
    again = [a_signal(BASIS, 1_000 + offset, event=f"0-{offset}", at_ms=NOON_MS) for offset in (5, 104)]
    assert fates(again, known) == [SignalFate.RETRIED] * 2
    assert fates([a_signal(BASIS, 2_000, event="0-4", at_ms=NOON_MS)], known) == [SignalFate.LEARNED]


def test_events_older_than_the_window_are_forgotten_but_for_the_newest() -> None:
    known = fresh()
    taken([a_signal(BASIS, offset, at_ms=NOON_MS) for offset in range(90)], known)
    taken([a_signal(BASIS, 90, at_ms=NOON_MS + 2 * WINDOW.ms)], known)
    assert len(known.recent.events) // 12 == FEWEST_KEPT


@pytest.mark.parametrize("wild_ms", [2**63 - 1, NOON_MS + 1_000 * WINDOW.ms, -(2**63)])
def test_a_wild_received_time_does_not_empty_the_window(wild_ms: int) -> None:
    known = fresh()
    signals = [a_signal(BASIS, offset) for offset in range(FEWEST_KEPT - 1)]
    taken([*signals, a_signal(BASIS, 90, at_ms=wild_ms)], known)
    known = stored_and_read_again(known)
    retries = [a_signal(BASIS, 100 + offset, event=f"0-{offset}") for offset in range(FEWEST_KEPT - 1)]
    assert fates(retries, known) == [SignalFate.RETRIED] * (FEWEST_KEPT - 1)
    assert fates([a_signal(BASIS, 500, event="0-90", at_ms=wild_ms)], known) == [SignalFate.RETRIED]


SIGNALS = st.lists(
    st.tuples(st.integers(0, 12), st.sampled_from("abc"), st.integers(0, 4), st.integers(0, 2)),
    min_size=1,
    max_size=25,
)


@given(SIGNALS, st.sets(st.integers(1, 24)))
def test_what_is_new_does_not_depend_on_where_it_was_stored_in_between(
    raw: list[tuple[int, str, int, int]], cuts: set[int]
) -> None:
    """Times are in half windows and go back and forth, offsets repeat, logs change: harsher than any real topic."""
    signals = [
        a_signal(BASIS, offset, event=event, at_ms=NOON_MS + late * WINDOW.ms // 2, epoch=epoch)
        for offset, event, late, epoch in raw
    ]
    known, expected = fresh(), taken(signals, fresh())
    got = []
    for at, signal in enumerate(signals):
        if at in cuts:
            known = stored_and_read_again(known)
        got += taken([signal], known)
    assert got == expected
