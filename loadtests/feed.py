"""The catalogue posts that are in every reader's feed."""

from collections.abc import Sequence
from functools import cache
from typing import Final

import httpx
import numpy as np

from client.catalogue import Post, by_label, load_catalogue
from client.errors import UserError
from client.readers import Reader
from client.rest import POSTS_A_REQUEST, batches
from loadtests.settings import LoadSettings

OWN_SHARE: Final = 0.6
REGISTER_TIMEOUT_S: Final = 30.0


class NotRegistered(Exception):  # noqa: N818
    """The posts of the feed could not be registered; the message says why."""


@cache
def feed_posts(count: int) -> tuple[Post, ...]:
    """The first posts of every class in turns, `count` in all.

    Raises:
        UserError: there is no usable catalogue.
    """
    groups = by_label(load_catalogue().shown).values()
    in_turns = [post for turn in zip(*groups, strict=False) for post in turn]
    return tuple(in_turns[:count])


def candidates(reader: Reader, posts: Sequence[Post], count: int, rng: np.random.Generator) -> list[Post]:
    """Posts for a page, most of them of what the reader chose to follow."""
    own = [post for post in posts if post.label in reader.tastes]
    others = [post for post in posts if post.label not in reader.tastes]
    wanted = min(len(own), round(count * OWN_SHARE))
    chosen = _some(own, wanted, rng) + _some(others, count - wanted, rng)
    return _some(chosen, len(chosen), rng)


def register(settings: LoadSettings) -> int:
    """Register the feed's posts with the collector; returns how many there are.

    Raises:
        NotRegistered: the collector does not take them.
    """
    try:
        posts = feed_posts(settings.load_catalogue)
        with httpx.Client(base_url=settings.collector, timeout=REGISTER_TIMEOUT_S, trust_env=False) as client:
            for batch in batches(posts, POSTS_A_REQUEST):
                body = {"posts": [{"post_id": post.post_id, "text": post.text} for post in batch]}
                client.post("/v1/posts", json=body).raise_for_status()
    except (httpx.HTTPError, UserError) as error:
        raise NotRegistered(f"posts can't be registered at {settings.collector}: {error}; is the stack up?") from error
    return len(posts)


def _some(posts: Sequence[Post], count: int, rng: np.random.Generator) -> list[Post]:
    return [posts[i] for i in rng.permutation(len(posts))[:count]]
