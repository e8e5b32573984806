from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from slop.factors import Factors
from slop.latent import Block
from slop.settings import LearningSettings
from slop.signals import learnable
from slop.v1.signal_pb2 import Signal, Source
from tests.basis import random_basis
from training.factors import Fit, FitOptions, Judge, Reactions, reactions_of
from training.factors.fit import MOST_A_READER, MOST_MEANS, fair_weights, regression, sureness
from training.factors.reactions import MOST_WEIGHT
from training.factors.refit import RefitRefused, features_of, refit

BASIS = random_basis()
READERS, POSTS = 300, 40


def reactions(noise: float = 0.2, seed: int = 0, factors: int = 2) -> tuple[Reactions, np.ndarray]:
    """Half of all readers' reactions to all posts under a known model, and the posts' true loadings."""
    rng = np.random.default_rng(seed)
    texts = rng.normal(size=(POSTS, BASIS.text_size))
    loadings = 0.3 * rng.normal(size=(POSTS, factors))
    means = 0.3 * texts[:, 0] + 0.05 * rng.normal(size=POSTS)
    truth = means + rng.normal(size=(READERS, factors)) @ loadings.T + 0.2 * rng.normal(size=(READERS, 1))
    values = np.clip(truth + noise * rng.normal(size=truth.shape), -1, 1)
    readers, posts = np.nonzero(rng.random(truth.shape) < 0.5)
    order = np.lexsort((rng.random(readers.size), readers))
    readers, posts = readers[order], posts[order]
    keys = [f"default/p{number}" for number in range(POSTS)]
    return Reactions(readers, posts, values[readers, posts], np.full(readers.size, 6.0), keys, texts), loadings


def signal(user: str, post: str, label: float, offset: int, weight: float = 1.0, **members: Any) -> Signal:
    features = [float(len(post))] * BASIS.text_size
    source = Source(partition=0, offset=offset)
    return Signal(
        event_id=f"e{offset}",
        tenant="t",
        user_id=user,
        post_id=post,
        label=label,
        weight=weight,
        source=source,
        features=[*features, 9.0],
        **members,
    )


def test_the_factors_span_what_readers_truly_differ_in() -> None:
    given, truth = reactions()
    fitted = Fit(given, FitOptions(size=2)).run().known[:, :2]
    basis, _ = np.linalg.qr(fitted)
    kept = np.linalg.norm(basis.T @ (truth / np.linalg.norm(truth, axis=0)), axis=0)
    assert (kept > 0.95).all()


def test_the_noise_and_the_spread_of_biases_are_found() -> None:
    fit = Fit(reactions(noise=0.2)[0], FitOptions(size=2))
    fit.run()
    assert fit.noise == pytest.approx(0.04, rel=0.2)
    assert fit.bias_variance == pytest.approx(0.04, rel=0.35)


def test_a_post_that_nobody_reacted_to_is_judged_by_its_text() -> None:
    given, _ = reactions()
    factors = Fit(given, FitOptions(size=2)).run()
    liked, disliked = (np.array([x, 0, 0, 0, 0], np.float32) for x in (2.0, -2.0))
    assert factors.of_text(liked)[-1] > 0 > factors.of_text(disliked)[-1]


def test_a_post_with_one_reaction_is_pulled_to_what_its_text_says() -> None:
    given, _ = reactions()
    once = (given.posts != 7) | (np.arange(given.posts.size) == np.flatnonzero(given.posts == 7)[0])
    alone = Reactions(
        *(given.readers[once], given.posts[once], given.values[once], given.weights[once]),
        keys=given.keys,
        text_features=given.text_features,
    )
    factors = Fit(alone, FitOptions(size=2)).run()
    by_text = factors.of_text(given.text_features[7].astype(np.float32))
    assert abs(factors.known[7, -1] - by_text[-1]) < 0.1


def test_a_few_posts_have_an_offset_alone() -> None:
    coefficients, offset = regression(np.ones((3, 5)), np.array([[1.0], [2.0], [3.0]]), np.ones(3))
    assert not coefficients.any()
    assert offset == 2.0


def test_reactions_to_the_same_post_are_one_weighted_reaction() -> None:
    log = [signal("a", "p", 1.0, 0, weight=3.0), signal("a", "p", 0.0, 1), signal("b", "qq", 0.5, 2)]
    found = reactions_of(log, BASIS.text_size)
    assert found.values.tolist() == [0.5, 0.0]
    assert found.weights.tolist() == [4.0, 1.0]
    assert list(found.keys) == ["t/p", "t/qq"]
    assert found.text_features.tolist() == [[1.0] * 5, [2.0] * 5]


def test_a_signal_that_was_written_twice_counts_once() -> None:
    twice = [signal("a", "p", 1.0, 0), signal("a", "p", 1.0, 0)]
    assert reactions_of(twice, BASIS.text_size).weights.tolist() == [1.0]


def test_an_event_that_was_sent_again_counts_once_and_anothers_of_the_same_id_counts_too() -> None:
    again = signal("a", "p", 1.0, 5)
    again.source.offset = 9
    log = [signal("a", "p", 1.0, 5), again, signal("b", "p", 1.0, 5)]
    assert reactions_of(log, BASIS.text_size).weights.tolist() == [1.0, 1.0]


def said(log: Iterable[Signal], **options: Any) -> dict[str, tuple[float, float]]:
    """Value and weight of a single reader's reactions by post."""
    found = reactions_of(log, BASIS.text_size, **options)
    assert found.reader_count <= 1
    keys = [found.keys[post] for post in found.posts]
    return dict(zip(keys, zip(found.values.tolist(), found.weights.tolist(), strict=True), strict=True))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_later_of_two_decisions_counts_in_whatever_order_they_came(order: tuple[int, int]) -> None:
    log = [signal("a", "p", 1.0, 0, decision=7, decided_at_ms=1), signal("a", "p", 0.0, 1, decision=7, decided_at_ms=2)]
    assert said(log[at] for at in order) == {"t/p": (-1.0, 1.0)}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_what_was_withdrawn_says_nothing_in_whatever_order_it_came(order: tuple[int, int]) -> None:
    like = signal("a", "p", 1.0, 0, decision=7, decided_at_ms=1)
    unlike = signal("a", "p", 0.0, 1, weight=0.0, decision=7, decided_at_ms=2, withdraws=True)
    share = signal("a", "q", 1.0, 2, decision=8)
    assert said([[like, unlike][at] for at in order] + [share]) == {"t/q": (1.0, 1.0)}
    again = signal("a", "p", 1.0, 3, decision=7, decided_at_ms=3)
    assert said([like, unlike, again]) == {"t/p": (1.0, 1.0)}


def test_a_retry_of_what_was_withdrawn_since_does_not_bring_it_back() -> None:
    like, unlike, retry = (signal("a", "p", 1.0, at, decision=7, decided_at_ms=at) for at in range(3))
    unlike.withdraws, retry.event_id = True, like.event_id
    assert said([like, unlike, retry]) == {}


def test_heartbeats_of_a_view_are_one_reaction_by_the_last() -> None:
    beats = [signal("a", "p", 0.0, 0, 0.5), signal("a", "p", 1.0, 0, 0.1), signal("a", "p", 1.0, 0, 0.4)]
    for at, beat in enumerate(beats):
        beat.decision, beat.decided_at_ms = 7, at
    [(value, weight)] = said(beats).values()
    assert (value, weight) == pytest.approx((1.0, 0.4))


def test_decisions_on_a_post_add_up_to_one_reaction_of_a_bounded_weight() -> None:
    log = [signal("a", "p", 1.0, at, weight=1.5, decision=at + 1) for at in range(3)]
    assert said(log) == {"t/p": (1.0, 4.5)}
    views = [signal("a", "p", 1.0, at, weight=0.5, decision=at + 1) for at in range(500)]
    assert said(views) == {"t/p": (1.0, MOST_WEIGHT)}


def test_of_a_long_log_everybody_keeps_the_latest_and_who_decided_most_gives_way() -> None:
    few = [signal(f"u{reader}", f"few{at}", 1.0, at) for reader in range(5) for at in range(8)]
    many = [signal("bot", f"many{at}", 1.0, at) for at in range(300)]
    found = reactions_of([*few, *many], BASIS.text_size, most=100)
    kept = [found.keys[post] for post in found.posts]
    assert sum("few" in key for key in kept) == 40
    assert kept[-1] == "t/many299"
    assert kept[40:] == [f"t/many{at}" for at in range(300 - len(kept) + 40, 300)]


def test_where_there_are_too_many_readers_those_are_kept_who_were_heard_of_last() -> None:
    first, later = ([signal(f"u{at}", f"p{at}", 1.0, 0) for at in some] for some in (range(9), range(9, 12)))
    found = reactions_of([*first, signal("u0", "again", 1.0, 1), *later], BASIS.text_size, most=10)
    assert [key.removeprefix("t/") for key in found.keys] == [
        *("p4", "p5", "p6", "p7", "p8", "p0", "again", "p9", "p10", "p11")
    ]


def test_only_what_the_learner_would_learn_is_read() -> None:
    good, foreign, broken = (signal("a", "p", 1.0, at) for at in range(3))
    good.basis = broken.basis = BASIS.version
    foreign.basis = "another"
    good.features[:] = foreign.features[:] = [0.5] * BASIS.feature_count
    broken.features[:] = [float("nan")] * BASIS.feature_count
    values = [good.SerializeToString(), foreign.SerializeToString(), broken.SerializeToString(), b"\xff", None]
    assert [found.event_id for found in learnable(values, BASIS)] == [good.event_id]


def test_a_log_without_signals_has_no_readers() -> None:
    empty = reactions_of([], BASIS.text_size)
    assert (empty.reader_count, len(empty.keys), empty.text_features.shape) == (0, 0, (0, 5))
    with pytest.raises(RefitRefused, match="0 and 0 held-out readers"):
        refit(BASIS, empty, LearningSettings().prior_of, FitOptions())


def test_the_judge_gives_full_marks_to_a_map_that_knows_the_order() -> None:
    given, _ = reactions(noise=0.0, factors=1)
    truth = np.zeros((POSTS, 1), np.float32)
    truth[:, 0] = [given.values[given.posts == post].mean() for post in range(POSTS)]
    one = np.zeros(READERS, bool)
    one[0] = True
    judge = Judge(given.of_readers(one))
    answers = np.full((POSTS, 1), 0.0, np.float32)
    mine = given.readers == 0
    answers[given.posts[mine], 0] = given.values[mine]
    assert judge.agreement(np.array([[1.0, 0.0]], np.float32), answers, [Block(1)]).tolist() == [1.0]
    assert judge.agreement(np.array([[-1.0, 0.0]], np.float32), answers, [Block(1)]).tolist() == [0.0]


def test_factors_that_rank_better_for_held_out_readers_are_kept() -> None:
    given, _ = reactions()
    done = refit(BASIS, given, LearningSettings().prior_of, FitOptions(size=2, rounds=15))
    assert done.agreement.after.mean() > done.agreement.before.mean() + 0.05
    assert done.basis.text_version == BASIS.text_version
    assert isinstance(done.basis.factors, Factors)
    assert features_of(done.basis, given).shape == (POSTS, BASIS.text_size + 3)


def test_readers_who_only_ever_like_give_nothing_to_judge_by_and_the_basis_stays() -> None:
    given, _ = reactions()
    liked = replace(given, values=np.ones(given.values.size))
    with pytest.raises(RefitRefused, match="reactions that differ"):
        refit(BASIS, liked, LearningSettings().prior_of, FitOptions(size=2, rounds=5))


def test_reactions_by_chance_are_no_reason_for_a_new_basis() -> None:
    given, _ = reactions()
    rng = np.random.default_rng(3)
    chance = Reactions(
        given.readers,
        given.posts,
        rng.uniform(-1, 1, given.values.size),
        given.weights,
        given.keys,
        given.text_features,
    )
    with pytest.raises(RefitRefused, match="held-out readers"):
        refit(BASIS, chance, LearningSettings().prior_of, FitOptions(size=2, rounds=10))


def test_a_handful_of_readers_is_too_few() -> None:
    given, _ = reactions()
    few = np.zeros(READERS, bool)
    few[:20] = True
    with pytest.raises(RefitRefused, match="are needed"):
        refit(BASIS, given.of_readers(few), LearningSettings().prior_of, FitOptions(size=2))


def with_reader(given: Reactions, posts: Iterable[int], value: float, weight: float, own: int = 0) -> Reactions:
    """One more reader, who reacts to some posts, and to `own` posts of a text of their own that nobody else knows."""
    count = len(given.keys)
    reacted = np.array([*posts, *range(count, count + own)], dtype=np.intp)
    odd = np.tile(np.where(np.arange(BASIS.text_size) == 0, -3.0, 0.0), (own, 1))
    return Reactions(
        np.concatenate([given.readers, np.full(reacted.size, given.reader_count)]),
        np.concatenate([given.posts, reacted]),
        np.concatenate([given.values, np.full(reacted.size, value)]),
        np.concatenate([given.weights, np.full(reacted.size, weight)]),
        [*given.keys, *(f"default/own{number}" for number in range(own))],
        np.concatenate([given.text_features, odd]),
    )


def test_no_reaction_counts_far_more_than_the_others_and_no_reader_more_than_many_reactions() -> None:
    given, _ = reactions()
    flood = with_reader(given, [], 1.0, 100.0, own=20 * int(MOST_A_READER))
    weights = fair_weights(flood)
    theirs = flood.readers == READERS
    assert weights[theirs].sum() <= MOST_MEANS * MOST_A_READER + 1e-6
    assert weights[~theirs].min() > 0.2
    assert np.allclose(fair_weights(given), 1.0)


def test_posts_of_one_reader_count_less_in_the_regression_than_those_of_many() -> None:
    given, _ = reactions()
    sure = sureness(with_reader(given, [], 1.0, 6.0, own=2_000))
    assert sure[:POSTS].min() > 0.9
    assert sure[POSTS:].sum() < 5


def crowd_of(given: Reactions) -> np.ndarray:
    """How much the crowd likes the posts that everybody knows."""
    return Fit(given, FitOptions(size=2)).run().known[:POSTS, -1]


def test_a_reader_who_sends_thousands_of_reactions_moves_the_crowd_no_further_than_one_reader_can() -> None:
    given, _ = reactions()
    few = given.of_readers(np.arange(READERS) < 40)
    before, flooded = crowd_of(few), crowd_of(with_reader(few, range(POSTS), 1.0, 6.0, own=2_000))
    assert np.corrcoef(before, flooded)[0, 1] > 0.98
    text_map = Fit(with_reader(few, [], 1.0, 6.0, own=2_000), FitOptions(size=2)).run().text_map
    assert text_map[0, -1] > 0.5 * Fit(few, FitOptions(size=2)).run().text_map[0, -1]
