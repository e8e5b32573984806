"""What is in the readers' feeds."""

from collections import Counter

import numpy as np

from client.readers import Reader
from loadtests.feed import candidates, feed_posts
from loadtests.people import class_names


def test_every_class_of_the_catalogue_is_in_the_feed_equally_often() -> None:
    assert Counter(post.label for post in feed_posts(44)) == dict.fromkeys(class_names(), 2)


def test_most_candidates_are_of_what_the_reader_follows_and_none_comes_twice() -> None:
    reader = Reader("r", ("gardening", "chess"), 1.0)
    chosen = candidates(reader, feed_posts(220), 10, np.random.default_rng(1))
    assert len({post.post_id for post in chosen}) == 10
    assert sum(post.label in reader.tastes for post in chosen) == 6
