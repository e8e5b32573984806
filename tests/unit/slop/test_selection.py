"""Posts are chosen by their scores, by their likeness to those that were chosen, and by the places of their groups."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slop.selection import Floats, select


def unit(rows: object) -> Floats:
    values = np.asarray(rows, np.float32)
    found: Floats = values / np.linalg.norm(values, axis=1, keepdims=True)
    return found


@st.composite
def candidates(draw: st.DrawFn) -> tuple[list[float], Floats]:
    """Scores, some of them equal, and embeddings, some of which are copies of others."""
    scores = draw(st.lists(st.integers(-3, 3).map(float) | st.floats(-1e6, 1e6), min_size=1, max_size=12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kinds = unit(rng.normal(size=(4, 5)))
    return scores, kinds[rng.integers(0, 4, len(scores))]


@given(some=candidates(), count=st.integers(0, 16), diversity=st.floats(0, 1))
def test_as_many_different_candidates_are_chosen_as_there_are_places_or_all(
    some: tuple[list[float], Floats], count: int, diversity: float
) -> None:
    scores, embeddings = some
    chosen = select(scores, embeddings, [0] * len(scores), [count], diversity).tolist()
    assert len(chosen) == len(set(chosen)) == min(count, len(scores))
    assert set(chosen) <= set(range(len(scores)))


@given(some=candidates(), count=st.integers(1, 12))
def test_without_diversity_the_best_are_chosen_and_of_equals_the_first(
    some: tuple[list[float], Floats], count: int
) -> None:
    scores, embeddings = some
    chosen = select(scores, embeddings, [0] * len(scores), [count], 0.0).tolist()
    relevance = (np.array(scores) - min(scores)) / (np.ptp(scores) or 1)  # close scores may be the same after this
    assert chosen == np.argsort(-relevance, kind="stable")[:count].tolist()


@given(some=candidates(), places=st.lists(st.integers(0, 4), min_size=1, max_size=3), diversity=st.floats(0, 1))
def test_every_group_has_its_places(some: tuple[list[float], Floats], places: list[int], diversity: float) -> None:
    scores, embeddings = some
    groups = np.arange(len(scores)) % len(places)
    chosen = select(scores, embeddings, groups, places, diversity)
    of_groups = np.bincount(groups[chosen], minlength=len(places))
    assert of_groups.tolist() == np.minimum(places, np.bincount(groups, minlength=len(places))).tolist()


@given(scores=st.lists(st.floats(-9, 9), min_size=3, max_size=8), diversity=st.floats(0.51, 1))
def test_what_is_there_twice_is_not_chosen_twice_while_there_is_something_else(
    scores: list[float], diversity: float
) -> None:
    """Candidates that have nothing in common, but the last is the first again."""
    embeddings = np.eye(len(scores), dtype=np.float32)
    embeddings[-1] = embeddings[0]
    chosen = select([*scores[:-1], scores[0]], embeddings, [0] * len(scores), [len(scores) - 1], diversity).tolist()
    assert len({0, len(scores) - 1} & set(chosen)) == 1


def test_the_more_diversity_the_less_alike_are_those_that_are_chosen() -> None:
    embeddings = unit([[1, 0, 0], [1, 0.1, 0], [0, 1, 0], [0, 0, 1]])
    scores = [1.0, 0.9, 0.5, 0.0]
    by_diversity = [select(scores, embeddings, [0] * 4, [2], d).tolist() for d in (0.0, 0.2, 0.5, 1.0)]
    assert by_diversity == [[0, 1], [0, 1], [0, 2], [0, 2]]
    assert select(scores, embeddings, [0] * 4, [3], 1.0).tolist() == [0, 2, 3]


def test_likeness_counts_between_groups_and_relevance_within_them() -> None:
    """The second group's candidates score far less, and the better one of them is like what the first one gave."""
    embeddings = unit([[1, 0], [0, 1], [1, 0], [0, 1]])
    scores = [9.0, 8.0, 0.2, 0.1]
    assert select(scores, embeddings, [0, 0, 1, 1], [1, 1], 0.0).tolist() == [0, 2]
    assert select(scores, embeddings, [0, 0, 1, 1], [1, 1], 0.6).tolist() == [0, 3]


def test_without_candidates_nothing_is_chosen() -> None:
    assert select([], np.empty((0, 3), np.float32), [], [2], 0.5).tolist() == []


@pytest.mark.parametrize(
    ("scores", "embedding", "groups", "diversity"),
    [
        ([1.0, np.nan], 1.0, [0, 0], 0.5),
        ([1.0, np.inf], 1.0, [0, 0], 0.5),
        ([1.0, 2.0], np.nan, [0, 0], 0.5),
        ([1.0, 2.0], 1.0, [0, 0], 1.5),
        ([1.0, 2.0], 1.0, [0, 0], np.nan),
        ([1.0], 1.0, [0, 0], 0.5),
        ([1.0, 2.0], 1.0, [0], 0.5),
    ],
)
def test_what_is_no_usable_number_or_does_not_fit_is_refused(
    scores: list[float], embedding: float, groups: list[int], diversity: float
) -> None:
    with pytest.raises(ValueError, match=r"usable|scores"):
        select(scores, np.full((2, 3), embedding, np.float32), groups, [1], diversity)
