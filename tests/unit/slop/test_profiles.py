from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import expit

from slop.latent import MAX_FEATURE, MAX_WEIGHT, Block, Floats, Prior, update, usable
from slop.profiles import MOST_SOURCES, Applied, InvalidProfile, Profile, scores
from slop.reproducible import Doubles, exp_of_negative, ordered_sum, sigmoid
from slop.v1.profile_pb2 import Profile as ProfileRecord

K = 5
PRIOR = Prior.of(np.linspace(-0.2, 0.2, K), variance=1.0, bias_variance=0.5, forgetting=0.99)
NEVER_FORGETS = replace(PRIOR, forgetting=(1.0,))

RECORDED_EXPONENTIALS = [
    "0x1.cf46d99d52b3ap-1",
    "0x1.78b56362cef38p-2",
    "0x1.50385c094f425p-4",
    "0x1.a56e0c2ac7f75p-44",
    "0x1.14f2b0fb9307fp-1010",
]
RECORDED_UPDATE = (
    "8d7c933dc24d593c2bef97bd8bb80fbeb58018be5d8115be",
    "f6ddb63e97cf693fa51e063f7c89483ef26dd93de0d7833e",
)


def floats(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, width=32)


@st.composite
def readers(draw: st.DrawFn, most: int = 9) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Arguments of `update` for some readers."""
    u = draw(st.integers(1, most))
    bound = float(np.float32(MAX_FEATURE))
    return (
        draw(hnp.arrays(np.float32, (u, K + 1), elements=floats(-10, 10))),
        draw(hnp.arrays(np.float32, (u, K + 1), elements=floats(0.0009765625, 1))),
        draw(hnp.arrays(np.float32, (u, K), elements=floats(-bound, bound))),
        draw(hnp.arrays(np.float32, u, elements=floats(0, 1))),
        draw(hnp.arrays(np.float32, u, elements=floats(0, float(np.float32(MAX_WEIGHT))))),
    )


def dense_update(
    mean: Doubles, covariance: Doubles, features: Doubles, label: float, weight: float
) -> tuple[Doubles, Doubles, float]:
    """Section 4 of the design word for word, for one reader with a full covariance; the bias is a feature of 1."""
    x = np.append(features, 1.0)
    v = float(x @ covariance @ x)
    p = float(expit((mean @ x) / np.sqrt(1 + np.pi * v / 8)))
    h = p * (1 - p)
    moved = mean + weight * (label - p) * (covariance @ x) / (1 + weight * h * v)
    shrunk = covariance - weight * h / (1 + weight * h * v) * np.outer(covariance @ x, x @ covariance)
    return moved, shrunk, p


@given(readers())
def test_the_update_is_assumed_density_filtering_with_a_diagonal_covariance(arguments: tuple[Floats, ...]) -> None:
    mean, variance, features, label, weight = arguments
    got_mean, got_variance, predicted = update(mean, variance, features, label, weight, NEVER_FORGETS)
    for u in range(len(mean)):
        expected_mean, covariance, expected = dense_update(
            mean[u].astype(float),
            np.diag(variance[u].astype(float)),
            features[u].astype(float),
            float(label[u]),
            float(weight[u]),
        )
        np.testing.assert_allclose(got_mean[u], expected_mean, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(got_variance[u], np.diag(covariance), rtol=1e-4, atol=1e-6)
        assert predicted[u] == pytest.approx(expected, abs=1e-9)


@given(readers())
def test_variance_stays_positive_and_finite_and_shrinks_unless_it_forgets(arguments: tuple[Floats, ...]) -> None:
    before = arguments[1]
    mean, after, _ = update(*arguments, NEVER_FORGETS)
    assert np.isfinite(mean).all()
    assert (after > 0).all()
    assert (after <= before).all()


def test_variance_survives_the_strongest_signals_repeated_for_long() -> None:
    mean, variance = PRIOR.mean.astype(np.float32)[None], PRIOR.variance.astype(np.float32)[None]
    features = np.full((1, K), MAX_FEATURE, np.float32)
    for turn in range(500):
        label, weight = np.array([turn % 2], np.float32), np.array([MAX_WEIGHT], np.float32)
        mean, variance, _ = update(mean, variance, features, label, weight, NEVER_FORGETS)
    assert np.isfinite(mean).all()
    assert (variance > 0).all()


@given(readers())
def test_readers_do_not_touch_each_other(arguments: tuple[Floats, ...]) -> None:
    together = update(*arguments, PRIOR)
    for u in range(len(together[0])):
        alone = update(*(a[u : u + 1] for a in arguments), PRIOR)
        assert [part.tobytes() for part in alone] == [part[u : u + 1].tobytes() for part in together]


def test_blocks_learn_the_same_signal_as_if_alone() -> None:
    rng = np.random.default_rng(1)
    first, second = Prior.of(np.zeros(3), 1.0, 0.5, 0.99), Prior.of([0.0, 1.0], 1.0, 0.5, 0.99, spread=[1.0, 0.05])
    both = first.joined(second)
    mean, variance = (np.tile(values.astype(np.float32), (2, 1)) for values in (both.mean, both.variance))
    features, label, weight = rng.normal(size=(2, 5)).astype(np.float32), np.ones(2, np.float32), np.ones(2, np.float32)
    together = update(mean, variance, features, label, weight, both)
    alone = [
        update(mean[:, :4], variance[:, :4], features[:, :3], label, weight, first),
        update(mean[:, 4:], variance[:, 4:], features[:, 3:], label, weight, second),
    ]
    for at in (0, 1):
        assert together[at].tobytes() == np.hstack([part[at] for part in alone]).tobytes()
    assert together[2].tobytes() == alone[1][2].tobytes()


def test_each_block_forgets_at_its_own_pace() -> None:
    slow = Prior.of(np.zeros(2), variance=1.0, bias_variance=0.5, forgetting=0.9)
    prior = slow.joined(Prior.of(np.zeros(3), variance=1.0, bias_variance=0.5, forgetting=0.5))
    mean, nothing = np.ones((1, 7), np.float32), np.zeros(1, np.float32)
    moved, _, _ = update(
        mean, prior.variance.astype(np.float32)[None], np.zeros((1, 5), np.float32), nothing, nothing, prior
    )
    np.testing.assert_allclose(moved[0], [0.9] * 3 + [0.5] * 4, rtol=1e-6)


def test_a_post_scores_the_sum_of_its_blocks_shares_without_the_biases() -> None:
    profile = Profile.new("b", Prior.of([1.0, 2.0], 1.0, 0.5, 1.0).joined(Prior.of([3.0], 1.0, 0.5, 1.0)))
    profile = replace(profile, mean=profile.mean + np.array([0, 0, 50, 0, 50], np.float32))
    assert scores(profile, np.ones((1, 3), np.float32), [Block(2, 0.5), Block(1)]).tolist() == [0.5 * 3 + 3]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 9, 15, 16, 17, 63, 64, 65, 511])
def test_memory_layout_and_batch_size_change_no_bit(count: int) -> None:
    rng = np.random.default_rng(count)
    mean, variance, features = (rng.normal(size=(count, d)).astype(np.float32) for d in (K + 1, K + 1, K))
    label, weight = rng.uniform(size=(2, count)).astype(np.float32)
    plain = update(mean, variance**2 + 0.1, features, label, weight, PRIOR)
    padded = np.zeros((count, 3 * K), np.float32)
    padded[:, 1 : 2 * K : 2] = features
    variance_by_columns = np.asfortranarray(variance**2 + 0.1)
    strided = update(
        mean[::-1][::-1], variance_by_columns, padded[:, 1 : 2 * K : 2], label, np.repeat(weight, 2)[::2], PRIOR
    )
    assert [part.tobytes() for part in plain] == [np.ascontiguousarray(part).tobytes() for part in strided]


def test_liking_a_post_raises_its_score_and_disliking_it_lowers_it() -> None:
    profile = Profile.new("b", PRIOR)
    post = np.array([[0.5, -1, 0, 0.3, 2]], np.float32)
    one = np.ones(1, np.float32)

    def after(label: float) -> float:
        mean, variance, _ = update(
            profile.mean[None], profile.variance[None], post, np.array([label], np.float32), one, PRIOR
        )
        return float(scores(replace(profile, mean=mean[0], variance=variance[0]), post, [Block(K)])[0])

    assert after(0.0) < scores(profile, post, [Block(K)])[0] < after(1.0)


def test_a_signal_without_weight_only_forgets() -> None:
    mean, variance = np.full((1, K + 1), 3, np.float32), np.full((1, K + 1), 0.1, np.float32)
    nothing = np.zeros(1, np.float32)
    moved, grown, _ = update(mean, variance, np.ones((1, K), np.float32), np.ones(1, np.float32), nothing, PRIOR)
    np.testing.assert_allclose(moved[0], PRIOR.mean + 0.99 * (3 - PRIOR.mean), rtol=1e-6)
    np.testing.assert_allclose(grown[0], PRIOR.variance + 0.99**2 * (0.1 - PRIOR.variance), rtol=1e-6)


def test_a_reader_without_signals_returns_to_the_prior() -> None:
    mean, variance = np.full((1, K + 1), 3, np.float32), np.full((1, K + 1), 0.01, np.float32)
    zero = np.zeros(1, np.float32)
    for _ in range(3_000):
        mean, variance, _ = update(mean, variance, np.zeros((1, K), np.float32), zero, zero, PRIOR)
    np.testing.assert_allclose(mean[0], PRIOR.mean, atol=1e-4)
    np.testing.assert_allclose(variance[0], PRIOR.variance, rtol=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 2 * MAX_FEATURE, -2 * MAX_FEATURE])
def test_a_signal_with_a_wild_feature_is_not_usable(bad: float) -> None:
    features = np.zeros((2, K), np.float32)
    features[1, 3] = bad
    assert usable(features, np.ones(2, np.float32), np.ones(2, np.float32)).tolist() == [True, False]


@pytest.mark.parametrize(
    ("label", "weight"), [(np.nan, 1), (1.5, 1), (-0.5, 1), (1, np.nan), (1, -1), (1, np.inf), (np.inf, 1)]
)
def test_a_signal_with_a_wild_label_or_weight_is_not_usable(label: float, weight: float) -> None:
    good, features = np.array([1.0], np.float32), np.zeros((2, K), np.float32)
    both = np.append(good, np.float32(label)), np.append(good, np.float32(weight))
    assert usable(features, *both).tolist() == [True, False]


@given(hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(-700, 0)))
def test_the_exponential_is_the_exponential(x: Doubles) -> None:
    np.testing.assert_allclose(exp_of_negative(x), np.exp(x), rtol=1e-14)


def test_the_exponential_has_the_bits_that_were_recorded() -> None:
    """Profiles relearned by another version or machine must be the same: a change here changes every profile."""
    got = exp_of_negative(np.array([-0.1, -1.0, -2.5, -30.0, -1e9]))
    assert [value.hex() for value in got.tolist()] == RECORDED_EXPONENTIALS


def test_the_update_has_the_bits_that_were_recorded() -> None:
    mean, variance = PRIOR.mean.astype(np.float32)[None], PRIOR.variance.astype(np.float32)[None]
    for turn in range(20):
        features = np.linspace(-1, 1 + turn / 10, K).astype(np.float32)[None]
        label, weight = np.array([turn % 3 == 0], np.float32), np.array([0.1 * turn], np.float32)
        mean, variance, _ = update(mean, variance, features, label, weight, PRIOR)
    assert (mean.tobytes().hex(), variance.tobytes().hex()) == RECORDED_UPDATE


def test_the_sigmoid_is_symmetric_and_does_not_overflow() -> None:
    z = np.array([-1e6, -3.0, 0.0, 3.0, 1e6])
    np.testing.assert_allclose(sigmoid(z) + sigmoid(-z), 1, rtol=1e-12)
    np.testing.assert_allclose(sigmoid(z), [0, 0.0474258732, 0.5, 0.9525741268, 1], rtol=1e-9, atol=1e-300)


def test_sums_run_from_left_to_right() -> None:
    values = np.array([[1e16, 1.0, -1e16, 1.0]])
    assert ordered_sum(values).tolist() == [1.0]


def a_profile() -> Profile:
    return Profile(
        "abc", np.arange(3, dtype=np.float32), np.ones(3, np.float32), 7, 7, 1_790_000_000_000, (Applied(7, 3, 12),)
    )


@given(
    hnp.arrays(np.float32, 4, elements=floats(-1e6, 1e6)),
    hnp.arrays(np.float32, 4, elements=floats(0.0009765625, 1e6)),
    st.integers(0, 2**63 - 1),
    st.lists(
        st.builds(Applied, st.integers(0, 2**32 - 1), st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1)),
        max_size=MOST_SOURCES,
    ),
)
def test_a_profile_comes_back_as_it_was_stored(
    mean: Floats, variance: Floats, count: int, applied: list[Applied]
) -> None:
    profile = Profile("v", mean, variance, count, count, count, tuple(applied))
    data = profile.to_bytes()
    back = Profile.from_bytes(data, 4)
    assert back.to_bytes() == data
    assert (back.mean.tobytes(), back.variance.tobytes()) == (mean.tobytes(), variance.tobytes())
    assert (back.interactions, back.applied) == (count, tuple(applied))


def test_the_source_of_a_profile_from_before_there_were_epochs_is_read() -> None:
    record = ProfileRecord(basis="abc", mean=bytes(12), variance=np.ones(3, "<f4").tobytes())
    record.source.partition, record.source.offset = 3, 12
    assert Profile.from_bytes(record.SerializeToString(), 3).applied == (Applied(0, 3, 12),)


def test_a_profile_at_twenty_prompts_takes_less_than_half_a_kilobyte() -> None:
    twenty = Prior.of(np.zeros(20), 1.0, 0.5, 0.99)
    profile = replace(
        Profile.new("0123456789ab", twenty),
        interactions=10**6,
        updated_at_ms=2**41,
        applied=(Applied(2**31, 7, 2**40),),
    )
    assert len(profile.to_bytes()) < 256


def with_value(array: npt.NDArray[np.float32], value: float) -> npt.NDArray[np.float32]:
    changed = array.copy()
    changed[1] = value
    return changed


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_stored_mean_that_is_not_finite_is_refused(value: float) -> None:
    broken = replace(a_profile(), mean=with_value(a_profile().mean, value))
    with pytest.raises(InvalidProfile, match="not finite"):
        Profile.from_bytes(broken.to_bytes(), 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -1.0])
def test_a_stored_variance_that_is_no_variance_is_refused(value: float) -> None:
    broken = replace(a_profile(), variance=with_value(a_profile().variance, value))
    with pytest.raises(InvalidProfile, match="not positive"):
        Profile.from_bytes(broken.to_bytes(), 3)


def test_a_stored_profile_of_another_length_is_refused() -> None:
    with pytest.raises(InvalidProfile, match="12 and 12 bytes"):
        Profile.from_bytes(a_profile().to_bytes(), 4)


@pytest.mark.parametrize("data", [b"\xff\xff\xff", a_profile().to_bytes()[:-3], b"\x12\x03abc"])
def test_broken_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidProfile):
        Profile.from_bytes(data, 3)


def test_counts_grow_with_the_signals_whatever_the_writes() -> None:
    profile = a_profile()
    at_once = profile.moved(profile.mean, profile.variance, signals=3, at_ms=9, applied=[Applied(1, 3, 20)])
    by_one = profile
    for offset in (14, 19, 20):
        by_one = by_one.moved(profile.mean, profile.variance, signals=1, at_ms=9, applied=[Applied(1, 3, offset)])
    assert at_once.to_bytes() == by_one.to_bytes()
    assert (at_once.interactions, at_once.version) == (10, 10)


def test_of_the_latest_sources_so_many_are_kept() -> None:
    applied = [Applied(epoch, 0, 5) for epoch in range(MOST_SOURCES + 3)]
    moved = a_profile().moved(a_profile().mean, a_profile().variance, signals=1, at_ms=9, applied=applied)
    assert moved.applied == tuple(applied[3:])
