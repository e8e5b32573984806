import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from training.basis.clusters import LARGEST, cluster_words, guarded, initial_clusters, nearest_clusters


def blobs(sizes: list[int], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(len(sizes), 6)) * 8
    return np.vstack([c + rng.normal(size=(n, 6)) * 0.3 for c, n in zip(centers, sizes, strict=True)]).astype("f4")


def test_clear_clusters_are_found() -> None:
    labels = initial_clusters(blobs([50, 50, 50]), 3, seed=0)
    assert sorted(np.bincount(labels)) == [50, 50, 50]
    assert all(len(set(labels[start : start + 50])) == 1 for start in (0, 50, 100))


def test_a_cluster_that_died_takes_half_of_the_largest() -> None:
    space = blobs([60, 60, 30, 30])
    labels = np.repeat([0, 0, 1, 2], [60, 60, 30, 30])
    mended = guarded(space, labels, 4, seed=0)
    assert sorted(np.bincount(mended, minlength=4)) == [30, 30, 60, 60]


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_guards_leave_no_empty_cluster_and_lose_no_post(seed: int) -> None:
    rng = np.random.default_rng(seed)
    space = rng.normal(size=(160, 5)).astype("f4")
    labels = rng.choice(5, size=160, p=[0.8, 0.1, 0.1, 0, 0])
    sizes = np.bincount(guarded(space, labels, 5, seed), minlength=5)
    assert sizes.sum() == 160
    assert sizes.min() > 0
    assert sizes.max() <= max(LARGEST * 160 / 5, 128)


def test_a_posts_own_cluster_is_always_a_candidate() -> None:
    space = blobs([20, 20, 20, 20])
    labels = np.roll(np.repeat(np.arange(4), 20), 20)
    candidates = nearest_clusters(space, labels, 4, nearest=2)
    assert candidates[np.arange(80), labels].all()
    assert (candidates.sum(axis=1) >= 2).all()


def test_a_clusters_words_are_its_own() -> None:
    posts = ["the puppy barks at the gate", "puppy naps", "telescope shows stars", "stars above the telescope"]
    words = cluster_words(posts, np.array([0, 0, 1, 1]), 2, words=3)
    assert "puppy" in words[0]
    assert {"telescope", "stars"} <= set(words[1])


def test_begun_from_wards_clusters_k_means_finds_a_small_one_where_it_may_be_small() -> None:
    space = blobs([60, 60, 60, 9])
    sizes = np.bincount(initial_clusters(space, 4, seed=0, ward=True, smallest=8), minlength=4)
    assert sorted(sizes) == [9, 60, 60, 60]
