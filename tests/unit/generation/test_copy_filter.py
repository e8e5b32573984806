import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.completions import CompletedText, CompletionRequest
from generation.copy_filter import COMMON_RUN, CopyFilter
from generation.prompt_picking import PostsOfPrompt
from generation.writing_request import PostPiece
from slop.copies import KnownPosts, words_digest

KNOWN = "The basil has forgiven me again."
KNOWN_POSTS = KnownPosts.of([KNOWN])
COPIES = CopyFilter(KNOWN_POSTS, rewrites=2, held_words=4)
WRITTEN = ["Soup is new here.", KNOWN, "", "the basil has forgiven me, I hope", "A new star was found."]
TEXTS = {post: CompletedText(text) for post, text in enumerate(WRITTEN)}


def posts_of_prompt(*posts: int, temperature: float = 0.8) -> PostsOfPrompt:
    return PostsOfPrompt(
        CompletionRequest([{"role": "system", "content": "x"}], len(posts), 60, temperature, 0.05), posts
    )


def test_near_copies_and_empty_posts_are_written_again_under_their_own_prompts() -> None:
    again = list(COPIES.again([posts_of_prompt(0, 2), posts_of_prompt(1, 3, 4)], TEXTS))
    assert [(one.posts, one.request.n) for one in again] == [((2,), 1), ((1, 3), 2)]
    assert again[0].request.messages == posts_of_prompt(0).request.messages


@pytest.mark.parametrize("posts", [(0, 4), ()])
def test_what_is_new_is_not_written_again(posts: tuple[int, ...]) -> None:
    assert not list(COPIES.again([posts_of_prompt(*posts)], TEXTS))


def test_at_temperature_0_nothing_is_written_again_since_it_would_come_out_the_same() -> None:
    assert not list(COPIES.again([posts_of_prompt(1, 2, temperature=0)], TEXTS))


def sent_as_it_comes(copies: CopyFilter, *pieces: str) -> tuple[list[str], str | None]:
    """What of a streamed post is sent with each piece and at its end, and the draft if it is to be written again."""
    held = copies.held(0)
    sent = ["".join(one.text for one in held.add(PostPiece(0, piece))) for piece in pieces]
    if (draft := held.draft) is not None:
        return sent, draft.text
    return [*sent, "".join(piece.text for piece in held.end())], None


def test_the_first_words_of_a_streamed_post_wait_and_then_each_piece_is_sent_as_it_comes() -> None:
    sent, draft = sent_as_it_comes(COPIES, "A", " new", " star", " was", " found", " today", ".")
    assert draft is None
    assert sent == ["", "", "", "", "A new star was found", " today", ".", ""]


@pytest.mark.parametrize("text", [KNOWN, " \n ", "the basil has forgiven me, I hope"])
def test_a_streamed_post_that_begins_as_a_copy_or_is_empty_is_not_sent_at_all(text: str) -> None:
    sent, draft = sent_as_it_comes(COPIES, *text)
    assert not "".join(sent)
    assert draft == text


def test_a_streamed_post_that_becomes_a_copy_is_ended_before_it_is_one() -> None:
    sent, draft = sent_as_it_comes(COPIES, "My cat sat here. ", *(f"{word} " for word in KNOWN.split()))
    assert draft is None
    text = "".join(sent)
    assert text.startswith("My cat sat here. The basil")
    assert not KNOWN_POSTS.are_copied_by(text)
    assert KNOWN not in text


def test_a_run_of_a_known_post_within_a_longer_one_is_sent_when_the_post_has_got_longer() -> None:
    whole = f"My cat sat here. {KNOWN} I am so very glad that it did, and so is she"
    sent, draft = sent_as_it_comes(COPIES, *(f"{word} " for word in whole.split()))
    assert draft is None
    assert "".join(sent) == whole + " "


def test_without_known_posts_only_blanks_wait_and_with_0_words_nothing_does() -> None:
    nothing_known = CopyFilter(KnownPosts.of([]), rewrites=2, held_words=4)
    assert sent_as_it_comes(nothing_known, "\n", "A", " new")[0] == ["", "\nA", " new", ""]
    unchecked = CopyFilter(KNOWN_POSTS, rewrites=2, held_words=0)
    assert sent_as_it_comes(unchecked, *KNOWN)[0] == [*KNOWN, ""]


def test_a_script_without_spaces_waits_for_characters() -> None:
    text = "今日は庭でバジルを植え替えました。とても元気そうで、もう許してくれたみたいです。"
    assert len("".join(sent_as_it_comes(COPIES, *text)[0][:35])) >= 32


WORDS = st.lists(st.sampled_from([*KNOWN.lower().rstrip(".").split(), "cat", "dog"]), max_size=20)


@given(WORDS, st.integers(1, 6))
def test_no_streamed_post_of_some_length_is_a_near_copy_and_what_is_new_comes_whole(
    words: list[str], size: int
) -> None:
    text = " ".join(words)
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    sent, _ = sent_as_it_comes(COPIES, *pieces)
    assert text.startswith("".join(sent))
    if len("".join(sent).split()) > 2 * COMMON_RUN:
        assert not KNOWN_POSTS.are_copied_by("".join(sent))
    if not KNOWN_POSTS.are_copied_by(text) and text:
        assert "".join(sent) == text


def test_what_the_reader_has_had_is_written_again_whatever_its_case_and_marks() -> None:
    had = CopyFilter(
        KnownPosts.of([]), rewrites=2, held_words=4, not_again=frozenset({words_digest("Soup is new here.")})
    )
    assert had.is_refused("soup: is NEW here")
    assert not had.is_refused("Soup is new here, they say.")
    assert sent_as_it_comes(had, "Soup is", " new here.") == (["", ""], "Soup is new here.")
