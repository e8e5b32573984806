from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from slop.latent import MAX_FEATURE, MAX_WEIGHT, Beliefs, Floats, Prior, learned
from slop.reproducible import Doubles, power
from slop.undoing import RememberedSignals, undone

TEXT = Prior.of(np.linspace(-0.2, 0.2, 5), variance=1.0, bias_variance=0.5, forgetting=0.955)
FACTORS = Prior.of([0.0, 0.3, -0.1], variance=2.0, bias_variance=0.5, forgetting=0.998, spread=[1.0, 0.5, 0.05])
PRIOR = TEXT.joined(FACTORS)
NEVER_FORGETS = replace(PRIOR, forgetting=(1.0, 1.0))
DIMENSIONS, FEATURES = PRIOR.mean.size, sum(PRIOR.sizes)


def floats(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, width=32)


def a_signal(most_feature: float, most_weight: float) -> st.SearchStrategy[tuple[Floats, Floats, Floats]]:
    """Features, label and weight of one reader's signal."""
    return st.tuples(
        hnp.arrays(np.float32, (1, FEATURES), elements=floats(-most_feature, most_feature)),
        hnp.arrays(np.float32, 1, elements=floats(0, 1)),
        hnp.arrays(np.float32, 1, elements=floats(0, most_weight)),
    )


# As real features and weights are: of about norm 1, at most some ratings of weight 6.
USUAL = a_signal(0.75, 6.0)
WILD = a_signal(MAX_FEATURE, MAX_WEIGHT)
Signals = list[tuple[Floats, Floats, Floats]]


def newborn() -> tuple[Floats, Floats]:
    return PRIOR.mean.astype(np.float32)[None], PRIOR.variance.astype(np.float32)[None]


def after(signals: Signals, prior: Prior = PRIOR) -> tuple[Floats, Floats]:
    mean, variance = newborn()
    for signal in signals:
        mean, variance, _ = learned(mean, variance, *signal, prior)
    return mean, variance


def remembered(signal: tuple[Floats, Floats, Floats], beliefs: Beliefs, since: int) -> RememberedSignals:
    """What is remembered of a signal, rounded as it is stored."""
    probability, spread = (part.astype(np.float32) for part in beliefs)
    return RememberedSignals(signal[1], signal[2], probability, spread, np.array([since]))


def learned_and_undone(
    before: Signals, signal: tuple[Floats, Floats, Floats], between: Signals
) -> tuple[Floats, Floats]:
    mean, variance, beliefs = learned(*after(before), *signal, PRIOR)
    for one in between:
        mean, variance, _ = learned(mean, variance, *one, PRIOR)
    return undone(mean, variance, signal[0], remembered(signal, beliefs, len(between)), PRIOR)


@given(st.lists(USUAL, max_size=6), USUAL)
@settings(max_examples=100)
def test_a_signal_taken_back_at_once_leaves_the_profile_from_before(
    before: Signals, signal: tuple[Floats, Floats, Floats]
) -> None:
    mean, variance = after(before)
    mean_again, variance_again = learned_and_undone(before, signal, [])
    np.testing.assert_allclose(mean_again, mean, rtol=0, atol=2e-5)
    np.testing.assert_allclose(variance_again, variance, rtol=0, atol=2e-5)


def test_a_signal_of_one_dimension_alone_is_taken_back_however_strong_it_was() -> None:
    """More than half of it is made up by that dimension: the other root."""
    features = np.zeros((1, FEATURES), np.float32)
    for strength in (0.5, 2.0, 10.0, 40.0):
        features[0, 2] = strength
        signal = features, np.ones(1, np.float32), np.full(1, 6, np.float32)
        mean, variance = learned_and_undone([], signal, [])
        np.testing.assert_allclose(mean, newborn()[0], atol=1e-4 * max(1, strength))
        np.testing.assert_allclose(variance, newborn()[1], atol=1e-4 * max(1, strength))


@given(st.lists(WILD, max_size=4), WILD, st.lists(WILD, max_size=4), st.integers(0, 50))
@settings(max_examples=100)
def test_whatever_is_taken_back_the_profile_stays_finite_and_the_variance_within_the_prior(
    before: Signals, signal: tuple[Floats, Floats, Floats], between: Signals, since: int
) -> None:
    mean, variance, beliefs = learned(*after(before), *signal, PRIOR)
    for one in between:
        mean, variance, _ = learned(mean, variance, *one, PRIOR)
    another = (between or before or [signal])[0][0]  # the text of the post was changed meanwhile
    for features in (signal[0], another):
        mean, variance = undone(mean, variance, features, remembered(signal, beliefs, since), PRIOR)
        assert np.isfinite(mean).all()
        assert (variance > 0).all()
        assert (variance <= PRIOR.variance.astype(np.float32)).all()


@given(st.lists(USUAL, min_size=1, max_size=5), USUAL, st.lists(USUAL, min_size=1, max_size=30))
@settings(max_examples=30)
def test_the_variance_of_a_signal_taken_back_late_grows_if_nothing_is_forgotten(
    before: Signals, signal: tuple[Floats, Floats, Floats], between: Signals
) -> None:
    mean, variance, beliefs = learned(*after(before, NEVER_FORGETS), *signal, NEVER_FORGETS)
    for one in between:
        mean, variance, _ = learned(mean, variance, *one, NEVER_FORGETS)
    _, grown = undone(mean, variance, signal[0], remembered(signal, beliefs, len(between)), NEVER_FORGETS)
    assert (grown >= variance * np.float32(1 - 1e-6)).all()


def usual(rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    features = rng.normal(size=(1, FEATURES)).astype(np.float32) / np.float32(np.sqrt(FEATURES))
    return features, rng.integers(0, 2, 1).astype(np.float32), rng.uniform(0.5, 1.5, 1).astype(np.float32)


@pytest.mark.parametrize("between", [1, 3, 10, 40])
def test_a_like_taken_back_late_leaves_nearly_what_would_be_there_without_it(between: int) -> None:
    """What is left of its effect is a small part of it, over many readers."""
    rng, left, effect = np.random.default_rng(between), [], []
    for _ in range(60):
        before, others = [usual(rng) for _ in range(5)], [usual(rng) for _ in range(between)]
        like = usual(rng)[0], np.ones(1, np.float32), np.ones(1, np.float32)
        without, _ = after(before + others)
        with_it, _ = after([*before, like, *others])
        mean, _ = learned_and_undone(before, like, others)
        left.append(np.square(mean - without).sum())
        effect.append(np.square(with_it - without).sum())
    assert sum(left) < 0.2 * sum(effect)


def test_likes_taken_back_late_again_and_again_do_not_run_away() -> None:
    rng = np.random.default_rng(4)
    mean, variance = newborn()
    for _ in range(2_000):
        like, other = usual(rng), usual(rng)
        mean, variance, beliefs = learned(mean, variance, *like, PRIOR)
        mean, variance, _ = learned(mean, variance, *other, PRIOR)
        mean, variance = undone(mean, variance, like[0], remembered(like, beliefs, 1), PRIOR)
    assert np.abs(mean).max() < 5
    assert variance.min() > 0.01


@given(st.lists(WILD, min_size=2, max_size=9), st.lists(st.integers(0, 5), min_size=9, max_size=9))
def test_readers_do_not_touch_each_other(signals: Signals, since: list[int]) -> None:
    features, label, weight = (np.concatenate(parts) for parts in zip(*signals, strict=True))
    count = len(signals)
    mean, variance = (np.repeat(part, count, axis=0) for part in newborn())
    mean, variance, beliefs = learned(mean, variance, features, label, weight, PRIOR)
    probability, spread = (part.astype(np.float32) for part in beliefs)
    all_remembered = RememberedSignals(label, weight, probability, spread, np.array(since[:count]))
    together = undone(mean, variance, features, all_remembered, PRIOR)
    for u in range(count):
        one = slice(u, u + 1)
        alone = undone(
            mean[one], variance[one], features[one], RememberedSignals(*(part[one] for part in all_remembered)), PRIOR
        )
        assert [part.tobytes() for part in alone] == [part[one].tobytes() for part in together]


RECORDED = (
    "fb31253f8d6d0a3fb7197f3e92cf26beb545f6be6c0302bfdc9751bf0c7193be86045cbe944ca1be",
    "943ad83e410f2d3f5f20713ff5c4703f7591283fa535993ebc062c3f1f25ae3efd6aa13d3095ac3e",
)


def test_taking_back_has_the_bits_that_were_recorded() -> None:
    """Profiles relearned by another version or machine must be the same: a change here changes profiles."""
    mean, variance = newborn()
    for turn in range(12):
        features = np.linspace(-1, 1 + turn / 10, FEATURES).astype(np.float32)[None]
        signal = features, np.array([turn % 3 == 0], np.float32), np.array([0.3 * turn], np.float32)
        mean, variance, beliefs = learned(mean, variance, *signal, PRIOR)
        if turn % 2:
            mean, variance = undone(mean, variance, features, remembered(signal, beliefs, turn % 4 // 2 * turn), PRIOR)
    assert (mean.tobytes().hex(), variance.tobytes().hex()) == RECORDED


@given(st.floats(0.01, 1.0), hnp.arrays(np.int64, 5, elements=st.integers(0, 5_000)))
def test_powers_are_powers(base: float, exponents: npt.NDArray[np.int64]) -> None:
    expected: Doubles = base ** exponents.astype(np.float64)
    np.testing.assert_allclose(power(base, exponents), expected, rtol=1e-11, atol=1e-300)
