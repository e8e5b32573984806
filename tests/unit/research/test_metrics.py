"""Properties of the studies' figures."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.texts import TextScore
from research.metrics import calibration, distinct2, distinct2_of, latency, over_readers, pair_accuracy, perplexity

ratings = st.lists(st.floats(-10, 10).map(lambda x: round(x, 2)), min_size=2, max_size=15)


@given(ratings)
def test_the_ratings_themselves_order_every_pair_right(rated: list[float]) -> None:
    accuracy = pair_accuracy(rated, rated, gap=0.01)
    assert accuracy == 1.0 if len(set(rated)) > 1 else accuracy is None


@given(ratings, st.randoms())
def test_turning_the_scores_round_turns_the_accuracy_round(rated: list[float], rng: object) -> None:
    scores = [rng.uniform(-1, 1) for _ in rated]  # type: ignore[attr-defined]
    forward, backward = pair_accuracy(scores, rated, 2), pair_accuracy([-s for s in scores], rated, 2)
    if forward is None:
        assert backward is None
    else:
        assert backward == pytest.approx(1 - forward)


@given(ratings)
def test_equal_scores_are_worth_one_half(rated: list[float]) -> None:
    assert pair_accuracy([0.3] * len(rated), rated, 2) in {0.5, None}


def test_pairs_that_differ_by_less_than_the_gap_do_not_count() -> None:
    assert pair_accuracy([1, 2], [0.0, 1.99], gap=2) is None
    assert pair_accuracy([1, 2, 0], [0.0, 2.0, 1.0], gap=2) == 1.0


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    estimates = [over_readers(rng.beta(2, 3, size=30).tolist(), seed=i) for i in range(200)]
    covered = sum(e.low <= 0.4 <= e.high for e in estimates)
    assert 178 <= covered <= 199


def test_the_interval_is_over_readers_not_posts() -> None:
    agreed, split = over_readers([0.5] * 10), over_readers([0.0, 1.0] * 5)
    assert agreed.mean == split.mean == 0.5
    assert (agreed.low, agreed.high) == (0.5, 0.5)
    assert split.high - split.low > 0.4


def test_perplexity_weighs_tokens_not_texts() -> None:
    scores = [TextScore(-math.log(2) * 9, 9), TextScore(-math.log(4), 1)]
    assert perplexity(scores) == pytest.approx(2 ** (11 / 10))


def test_perplexity_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no tokens"):
        perplexity([])


def test_distinct_2_counts_different_bigrams_across_texts_and_not_over_their_borders() -> None:
    assert distinct2(["a b c", "a b c"]) == 0.5
    assert distinct2(["a b", "c d"]) == 1.0
    assert distinct2(["a", ""]) == 0.0


def test_distinct_2_of_equal_sizes_does_not_punish_the_larger_set() -> None:
    rng = np.random.default_rng(2)
    texts = [" ".join(f"w{word}" for word in rng.integers(20, size=5)) for _ in range(400)]
    assert distinct2(texts) < 0.5 * distinct2(texts[:20])
    assert distinct2_of(texts, 20) == pytest.approx(distinct2(texts[:20]), rel=0.1)


def test_latency_is_in_milliseconds() -> None:
    assert latency([0.1] * 19 + [1.1]).p50 == 100.0
    assert latency([0.1] * 19 + [1.1]).p95 == pytest.approx(150.0)


def test_calibration_bins_are_of_like_predictions_and_equally_large() -> None:
    bins = calibration([0.9, 0.1, 0.2, 0.8], [1.0, 0.0, 1.0, 1.0], bins=2)
    assert [(round(b.predicted, 2), b.observed, b.count) for b in bins] == [(0.15, 0.5, 2), (0.85, 1.0, 2)]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_every_prediction_is_in_one_bin(predicted: list[float]) -> None:
    bins = calibration(predicted, predicted)
    assert sum(b.count for b in bins) == len(predicted)
    assert all(b.predicted == pytest.approx(b.observed) for b in bins)
