"""Who comes to a load test, and what they do."""

import numpy as np
import pytest

from client.readers import Reader
from loadtests.people import classes_of, number_of, reader_of, seen

READERS = 5_000_000
ABOUT_PLANTS = "Watered the tomato seedlings, pruned the roses and dug compost into the soil of the garden bed."


@pytest.mark.parametrize("skew", [0.0, 0.5, 0.8, 0.99])
def test_every_draw_names_a_reader_who_exists(skew: float) -> None:
    numbers = [number_of(uniform, READERS, skew) for uniform in np.linspace(0, np.nextafter(1, 0), 1_001)]
    assert numbers[0] == 0
    assert READERS * 0.99 < numbers[-1] < READERS
    assert numbers == sorted(numbers)


def test_without_skew_all_readers_come_equally_often() -> None:
    drawn = [number_of(uniform, 1_000, 0.0) for uniform in np.random.default_rng(1).random(20_000)]
    assert np.bincount(np.array(drawn) // 100).tolist() == pytest.approx([2_000] * 10, rel=0.1)


def test_readers_come_in_proportion_to_a_power_of_their_rank() -> None:
    drawn = np.array([number_of(uniform, READERS, 0.5) for uniform in np.random.default_rng(2).random(100_000)])
    first, second = np.mean(drawn < READERS // 100), np.mean(drawn < READERS // 25)
    assert (first, second) == (pytest.approx(0.1, abs=0.01), pytest.approx(0.2, abs=0.01))


def test_a_reader_is_the_same_person_in_every_run() -> None:
    assert reader_of(7) == reader_of(7)
    assert reader_of(7) != reader_of(8)


def test_readers_like_what_is_to_their_taste_more_often_and_look_at_it_for_longer() -> None:
    rng = np.random.default_rng(3)
    assert classes_of(ABOUT_PLANTS) == {"gardening"}
    fan, other = Reader("fan", ("gardening",), 1.0), Reader("other", ("chess",), 1.0)
    liked = {reader.user_id: [seen(reader, "p", ABOUT_PLANTS, rng) for _ in range(300)] for reader in (fan, other)}
    likes = {user: sum(s.events[1].type == "like" for s in all_seen) for user, all_seen in liked.items()}
    in_view = {user: np.mean([s.in_view_s for s in all_seen]) for user, all_seen in liked.items()}
    assert likes["fan"] > 5 * likes["other"]
    assert in_view["fan"] > 2 * in_view["other"]


def test_a_post_that_is_seen_makes_an_impression_and_one_reaction_of_that_reader() -> None:
    impression, reaction = seen(reader_of(1), "p-1", ABOUT_PLANTS, np.random.default_rng(4)).events
    assert impression.type == "impression"
    assert reaction.type in {"like", "skip", "dwell"}
    assert (reaction.value is not None) == (reaction.type == "dwell")
    assert {event.user_id for event in (impression, reaction)} == {reader_of(1).user_id}
