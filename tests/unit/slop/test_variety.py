import pytest
from hypothesis import given
from hypothesis import strategies as st

from research.metrics import distinct2
from slop.variety import RecentPosts, word_pairs

TEXTS = st.lists(st.lists(st.sampled_from(["the", "dog", "barks", "Dog"]), max_size=6).map(" ".join), max_size=20)


def test_pairs_are_of_words_in_lower_case() -> None:
    assert word_pairs("The dog, the DOG!") == [("the", "dog"), ("dog", "the"), ("the", "dog")]


@pytest.mark.parametrize("texts", [[], ["", "one"]])
def test_without_pairs_there_is_no_variety(texts: list[str]) -> None:
    posts = RecentPosts(5)
    for text in texts:
        posts.add(text)
    assert posts.distinct2() == 0


@given(TEXTS, st.integers(1, 6))
def test_only_the_last_posts_count_however_many_came_before(texts: list[str], most: int) -> None:
    posts = RecentPosts(most)
    for text in texts:
        posts.add(text)
    assert posts.distinct2() == distinct2(texts[-most:])
