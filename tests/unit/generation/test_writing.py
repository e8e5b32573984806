import pytest

from generation.engine import Order
from generation.prompt_picking import Batch
from generation.writing import CopyFilter
from slop.copies import KnownPosts

KNOWN = "The basil has forgiven me again."
NOVELTY = CopyFilter(KnownPosts.of([KNOWN]), rewrites=2)
TEXTS = ["Soup is new here.", KNOWN, "", "the basil has forgiven me, I hope", "A new star was found."]


def batch(*posts: int, temperature: float = 0.8) -> Batch:
    return Batch(Order([{"role": "system", "content": "x"}], len(posts), 60, temperature, 0.05), posts)


def test_near_copies_and_empty_posts_are_written_again_under_their_own_prompts() -> None:
    again = list(NOVELTY.again([batch(0, 2), batch(1, 3, 4)], TEXTS))
    assert [(one.posts, one.order.n) for one in again] == [((2,), 1), ((1, 3), 2)]
    assert again[0].order.messages == batch(0).order.messages


@pytest.mark.parametrize("posts", [(0, 4), ()])
def test_what_is_new_is_not_written_again(posts: tuple[int, ...]) -> None:
    assert not list(NOVELTY.again([batch(*posts)], TEXTS))


def test_at_temperature_0_nothing_is_written_again_since_it_would_come_out_the_same() -> None:
    assert not list(NOVELTY.again([batch(1, 2, temperature=0)], TEXTS))
