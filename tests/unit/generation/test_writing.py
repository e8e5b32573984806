import pytest

from generation.completions import CompletedText, CompletionRequest
from generation.prompt_picking import PostsOfPrompt
from generation.writing import CopyFilter
from slop.copies import KnownPosts

KNOWN = "The basil has forgiven me again."
COPIES = CopyFilter(KnownPosts.of([KNOWN]), rewrites=2)
WRITTEN = ["Soup is new here.", KNOWN, "", "the basil has forgiven me, I hope", "A new star was found."]
TEXTS = [CompletedText(text) for text in WRITTEN]


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
