"""Simulated readers behave as they are said to."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from client.catalogue import Post, by_label
from client.errors import UserError
from client.readers import Reader, deal_feeds, deal_readers, treated
from slop.arms import Arm, arm_of, soft_or_control

LABELS = [f"class{i:02}" for i in range(22)]
POSTS = by_label(
    Post(f"{label}-{i}", f"a post about {label} with number {i} in it", label) for label in LABELS for i in range(40)
)


def test_every_class_is_somebodys_taste_and_readers_have_one_or_two() -> None:
    readers = deal_readers(LABELS, 16, "run", np.random.default_rng(0))
    dealt = Counter(taste for reader in readers for taste in reader.tastes)
    assert set(dealt) == set(LABELS)
    assert max(dealt.values()) <= 2
    assert Counter(len(set(reader.tastes)) for reader in readers) == {1: 8, 2: 8}


def test_a_seed_gives_the_same_readers_again_and_runs_have_their_own_ids() -> None:
    first, again = (deal_readers(LABELS, 16, run, np.random.default_rng(3)) for run in ("a", "b"))
    assert [(r.tastes, r.pace) for r in first] == [(r.tastes, r.pace) for r in again]
    assert not {r.user_id for r in first} & {r.user_id for r in again}


def test_no_reader_of_a_study_is_in_the_control_arm() -> None:
    user_ids = [treated(f"reader-run-{number}") for number in range(200)]
    arms = {arm_of("default", user_id, soft_or_control(share)) for user_id in user_ids for share in (0.05, 0.5)}
    assert arms == {Arm.SOFT}
    assert all(user_id.startswith(f"reader-run-{number}-") for number, user_id in enumerate(user_ids))


@pytest.mark.parametrize("exposure", [0.25, 0.5, 1.0])
def test_feeds_show_the_tastes_as_often_as_the_exposure_says(exposure: float) -> None:
    rng = np.random.default_rng(0)
    readers = deal_readers(LABELS, 16, "run", rng)
    for reader, feed in zip(readers, deal_feeds(readers, POSTS, 32, exposure, rng), strict=True):
        assert len({post.post_id for post in feed}) == 32
        own = sum(post.label in reader.tastes for post in feed)
        assert 32 * exposure - 1 <= own <= 32 * exposure + 8


def test_tastes_come_up_all_along_a_feed() -> None:
    rng = np.random.default_rng(0)
    readers = deal_readers(LABELS, 16, "run", rng)
    for reader, feed in zip(readers, deal_feeds(readers, POSTS, 32, 0.5, rng), strict=True):
        on = [i for i, post in enumerate(feed) if post.label in reader.tastes]
        assert max(b - a for a, b in pairwise([-1, *on, 32])) <= 5


def test_all_feeds_together_need_few_different_posts() -> None:
    rng = np.random.default_rng(0)
    feeds = deal_feeds(deal_readers(LABELS, 16, "run", rng), POSTS, 32, 0.5, rng)
    assert len({post.post_id for feed in feeds for post in feed}) <= 260


def test_a_catalogue_that_is_too_small_is_an_error_that_names_the_class() -> None:
    posts = POSTS | {"class00": POSTS["class00"][:3]}
    reader = Reader("u", ("class00",), 1.0)
    with pytest.raises(UserError, match="class00"):
        deal_feeds([reader], posts, 32, 0.5, np.random.default_rng(0))


def _reactions(on_taste: bool, noise: float) -> list[tuple[str, float | None, bool]]:
    rng = np.random.default_rng(5)
    reader, post = Reader("u", ("class01",), 1.0), POSTS["class01" if on_taste else "class02"][0]
    reactions = [reader.react(post, noise, rng) for _ in range(4_000)]
    return [(r.signal, r.milliseconds, r.liked) for r in reactions]


@pytest.mark.parametrize("on_taste", [True, False])
def test_one_reaction_in_ten_is_the_wrong_way_round(on_taste: bool) -> None:
    wrong = sum(liked != on_taste for _, _, liked in _reactions(on_taste, 0.1)) / 4_000
    assert 0.08 < wrong < 0.12


def test_liked_posts_are_liked_or_lingered_on_for_more_than_the_reading_time() -> None:
    reading = Reader("u", (), 1.0).reading_time_ms(POSTS["class01"][0].text)
    reactions = _reactions(on_taste=True, noise=0.0)
    dwells = np.array([ms for signal, ms, _ in reactions if signal == "dwell"])
    assert {signal for signal, _, _ in reactions} == {"like", "dwell"}
    assert 0.55 < sum(signal == "like" for signal, _, _ in reactions) / 4_000 < 0.65
    assert 1.8 < np.median(dwells) / reading < 2.2
    assert np.mean(dwells > reading) > 0.99


def test_other_posts_are_skipped_or_glanced_at() -> None:
    reading = Reader("u", (), 1.0).reading_time_ms(POSTS["class02"][0].text)
    reactions = _reactions(on_taste=False, noise=0.0)
    dwells = np.array([ms for signal, ms, _ in reactions if signal == "dwell"])
    assert {signal for signal, _, _ in reactions} == {"skip", "dwell"}
    assert np.mean((dwells > 0.2 * reading) & (dwells < 0.5 * reading)) > 0.95
