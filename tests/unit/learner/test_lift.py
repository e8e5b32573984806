from itertools import product

import numpy as np
import pytest

from learner import lift
from learner.lift import DAY_MS, MOST_A_DAY, LiftCounter, Reaction
from slop.lift import ArmOfExperiment
from slop.redis.profiles import User
from tests.samples import sample

OBSERVED, PAIRS = ("liked", "not_liked"), ("liked", "liked_any", "any")


class Counted:
    """What was counted of an arm since this object was made."""

    def __init__(self, arm: str, experiment: str = "") -> None:
        self._arm, self._experiment = arm, experiment
        self._before = self._now()

    def _now(self) -> dict[str, float]:
        reactions = {
            name: sample(
                "slop_learner_counted_reactions_total", arm=self._arm, experiment=self._experiment, observed=name
            )
            for name in OBSERVED
        }
        return reactions | {
            f"{name} pairs": sample(
                "slop_learner_counted_pairs_total", arm=self._arm, experiment=self._experiment, pair=name
            )
            for name in PAIRS
        }

    def grown(self) -> list[float]:
        """Liked, not liked, and the pairs."""
        return [value - self._before[name] for name, value in self._now().items()]


def reaction(number: int, arm: str, liked: bool, experiment: str = "") -> Reaction:
    return Reaction(User("t", f"u{number}"), ArmOfExperiment(experiment, arm), liked)


def test_the_sums_are_those_that_the_variance_by_reader_is_made_of() -> None:
    draws = np.random.default_rng(0)
    reactions = [(number % 7, bool(draws.random() < 0.6)) for number in range(80)]
    counted, counter = Counted("soft"), LiftCounter()
    for number, liked in reactions:
        counter.count([reaction(number, "soft", liked)], now_ms=5.0)
    likes = np.array([sum(liked for number, liked in reactions if number == reader) for reader in range(7)])
    each = np.array([sum(number == reader for number, _ in reactions) for reader in range(7)])
    expected = [likes.sum(), (each - likes).sum(), (likes**2).sum(), (likes * each).sum(), (each**2).sum()]
    assert counted.grown() == expected


def test_a_bot_counts_as_a_reader_of_a_bounded_number_of_reactions() -> None:
    counted, counter = Counted("base"), LiftCounter()
    counter.count([reaction(0, "base", True)] * 10_000, now_ms=5.0)
    assert counted.grown() == [MOST_A_DAY, 0, MOST_A_DAY**2, MOST_A_DAY**2, MOST_A_DAY**2]


def test_the_next_day_a_reader_counts_anew() -> None:
    counted, counter = Counted("base"), LiftCounter()
    for day, _ in product(range(3), range(30)):
        counter.count([reaction(0, "base", False)], now_ms=day * DAY_MS + 1.0)
    assert counted.grown() == [0, 3 * MOST_A_DAY, 0, 0, 3 * MOST_A_DAY**2]


def test_reactions_to_posts_that_no_arm_wrote_say_nothing_of_the_lift() -> None:
    counted = Counted("base"), Counted("soft")
    LiftCounter().count([reaction(0, "", True), reaction(0, "of-another-release", True)], now_ms=5.0)
    assert [each.grown() for each in counted] == [[0.0] * 5] * 2


def test_of_too_many_readers_those_heard_of_last_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lift, "MOST_READERS", 2)
    counter = LiftCounter()
    counter.count([reaction(number, "soft", True) for number in (0, 1, 0, 2)], now_ms=5.0)
    counted = Counted("soft")
    counter.count([reaction(0, "soft", True)] * MOST_A_DAY, now_ms=5.0)
    assert counted.grown()[0] == MOST_A_DAY - 2


def test_experiments_are_counted_apart_and_their_control_is_there_from_the_first_reaction() -> None:
    LiftCounter().count([reaction(0, "soft", True, "one"), reaction(0, "soft", False, "two")], now_ms=5.0)
    counted = [Counted("soft", experiment) for experiment in ("one", "two", "")]
    LiftCounter().count([reaction(0, "soft", True, "one"), reaction(0, "soft", False, "two")], now_ms=5.0)
    assert [each.grown()[:2] for each in counted] == [[1, 0], [0, 1], [0, 0]]
    assert sample("slop_learner_counted_reactions_total", arm="base", experiment="two", observed="liked") == 0
