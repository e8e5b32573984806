from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from slop.profiles import Profile
from slop.v1.signal_pb2 import Signal
from tests.basis import random_basis
from tests.signals import DAY_MS, NOON_MS, a_signal
from trainer.novelty import Seen

BASIS = random_basis()
WINDOW_MS = 7 * DAY_MS
NEWBORN = Profile.new(BASIS.version, BASIS.prior(1.0, 0.5, 1.0))


def taken(signals: list[Signal], seen: Seen) -> list[Signal]:
    """Those that are new, in order."""
    new = []
    for signal in signals:
        if not (seen.was_applied(signal) or seen.was_retried(signal)):
            seen.learn(signal)
            new.append(signal)
    return new


def fresh() -> Seen:
    return Seen.of(NEWBORN, WINDOW_MS, [])


def test_a_signal_written_twice_is_taken_once() -> None:
    signals = [a_signal(BASIS, offset) for offset in (0, 1, 0, 1, 2)]
    assert [signal.source.offset for signal in taken(signals, fresh())] == [0, 1, 2]


def test_an_older_offset_stays_old_after_the_profile_was_stored() -> None:
    seen = Seen.of(replace(NEWBORN, partition=0, offset=5, updated_at_ms=NOON_MS), WINDOW_MS, [])
    assert [s.source.offset for s in taken([a_signal(BASIS, o) for o in (4, 5, 6)], seen)] == [6]


def test_offsets_of_another_partition_are_not_compared() -> None:
    seen = Seen.of(replace(NEWBORN, partition=0, offset=5, updated_at_ms=NOON_MS), WINDOW_MS, [])
    assert len(taken([a_signal(BASIS, 3, partition=1)], seen)) == 1


def test_a_retry_within_the_window_is_left_out() -> None:
    first = a_signal(BASIS, 0, event="e", at_ms=NOON_MS)
    retry = a_signal(BASIS, 1, event="e", at_ms=NOON_MS + WINDOW_MS)
    assert taken([first, retry], fresh()) == [first]


def test_an_event_id_is_free_again_after_the_window() -> None:
    first = a_signal(BASIS, 0, event="e", at_ms=NOON_MS)
    later = a_signal(BASIS, 1, event="e", at_ms=NOON_MS + WINDOW_MS + 1)
    assert taken([first, later], fresh()) == [first, later]


def test_a_retry_is_known_from_what_is_stored() -> None:
    profile = replace(NEWBORN, partition=0, offset=0, updated_at_ms=NOON_MS)
    seen = Seen.of(profile, WINDOW_MS, [("e", NOON_MS), ("f", None)])
    signals = [a_signal(BASIS, 1, event="e"), a_signal(BASIS, 2, event="f")]
    assert [signal.event_id for signal in taken(signals, seen)] == ["f"]


def test_the_newest_time_is_kept_when_collectors_clocks_differ() -> None:
    seen = fresh()
    taken([a_signal(BASIS, 0, at_ms=NOON_MS + 500), a_signal(BASIS, 1, at_ms=NOON_MS)], seen)
    assert seen.newest_ms == NOON_MS + 500


SIGNALS = st.lists(st.tuples(st.integers(0, 12), st.sampled_from("abc"), st.integers(0, 4)), min_size=1, max_size=25)


@given(SIGNALS, st.sets(st.integers(1, 24)))
def test_what_is_new_does_not_depend_on_where_it_was_stored_in_between(
    raw: list[tuple[int, str, int]], cuts: set[int]
) -> None:
    """Times are in half windows and go back and forth, offsets repeat: harsher than any real topic."""
    signals = [
        a_signal(BASIS, offset, event=event, at_ms=NOON_MS + late * WINDOW_MS // 2) for offset, event, late in raw
    ]
    seen, expected = fresh(), taken(signals, fresh())
    got = []
    for at, signal in enumerate(signals):
        if at in cuts:
            seen = stored_and_read_again(seen)
        got += taken([signal], seen)
    assert got == expected


def stored_and_read_again(seen: Seen) -> Seen:
    """Redis in short: what is too old to matter is trimmed."""
    profile = replace(NEWBORN, partition=seen.partition, offset=seen.offset, updated_at_ms=seen.newest_ms)
    remembered = [(event, at_ms) for event, at_ms in seen.events.items() if at_ms >= seen.newest_ms - WINDOW_MS]
    return Seen.of(profile, WINDOW_MS, remembered)
