from difflib import SequenceMatcher
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from slop.copies import KNOWN_FILE, GrowingText, KnownPosts, _hashes

POSTS = ["The basil has forgiven me, again and again.", "What is the best way to train a puppy?", "Soup!"]
WORDS = st.lists(st.sampled_from("abcd"), max_size=12)


@pytest.mark.parametrize(
    ("text", "copied"),
    [
        ("The basil has forgiven me, again and again.", True),
        ("the BASIL has forgiven... everybody else today", True),
        ("the basil has died and nobody knows what happened", False),
        ("What is the best way to lose a match against a child who is five?", False),
        ("again and again what is the end of it", False),  # a run ends where a post does
        ("", False),
        ("?!", False),
    ],
)
def test_a_text_copies_a_post_if_half_of_it_is_a_run_of_the_posts_words(text: str, copied: bool) -> None:
    assert KnownPosts.of(POSTS).are_copied_by(text) is copied


@given(st.lists(WORDS, max_size=4), WORDS)
def test_the_longest_run_is_that_of_the_closest_post(posts: list[list[str]], words: list[str]) -> None:
    known = KnownPosts.of(" ".join(post) for post in posts)
    longest = max(
        (SequenceMatcher(None, post, words, autojunk=False).find_longest_match().size for post in posts), default=0
    )
    assert known.longest_run(_hashes(" ".join(words))) == longest


@given(st.lists(WORDS, max_size=4), WORDS, st.integers(1, 5))
def test_a_text_that_grows_is_told_as_the_whole_text_is(posts: list[list[str]], words: list[str], size: int) -> None:
    known = KnownPosts.of(" ".join(post) for post in posts)
    growing, text = GrowingText(known), " ".join([*words, ""])
    for at in range(0, len(text), size):
        growing.add(text[at : at + size])
    assert growing.words == len(words)
    assert growing.is_near_copy == (known.are_copied_by(text) or not words)


def test_known_posts_lie_beside_a_basis(tmp_path: Path) -> None:
    KnownPosts.of(POSTS).save(tmp_path)
    assert KnownPosts.beside(tmp_path).are_copied_by(POSTS[1])
    assert not KnownPosts.beside(tmp_path / "other").are_copied_by(POSTS[1])


def test_without_a_usable_file_nothing_is_known_and_the_log_says_why(tmp_path: Path) -> None:
    (tmp_path / KNOWN_FILE).write_bytes(b"broken")
    with capture_logs() as logs:
        assert not KnownPosts.beside(tmp_path).are_copied_by(POSTS[1])
    assert logs[0]["event"] == "known_posts_unused"
