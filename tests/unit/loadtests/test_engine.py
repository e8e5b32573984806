"""What is told of the engine: how long posts are in tokens, and what was written within the time that counts."""

import math

import pytest

from loadtests.engine import Seen
from loadtests.engine_alone import _share


def test_posts_have_as_many_tokens_together_as_the_engine_wrote() -> None:
    lengths = Seen(pauses_s=[1.0], characters=[40, 80, 120], tokens=60.0).lengths()
    assert lengths == [10, 20, 30]


def test_a_post_without_a_letter_still_has_a_token() -> None:
    assert Seen([1.0], [0, 10], 5.0).lengths() == [1, 5]
    assert Seen([1.0], [0], 0.0).lengths() == [1]


@pytest.mark.parametrize(
    ("started", "ended", "tokens"),
    [(10.0, 20.0, 10.0), (5.0, 15.0, 5.0), (15.0, 25.0, 5.0), (0.0, 40.0, 2.5), (0.0, 5.0, 0.0), (25.0, 30.0, 0.0)],
)
def test_only_tokens_that_were_written_within_the_time_count(started: float, ended: float, tokens: float) -> None:
    assert math.isclose(_share((started, ended, 10), 10.0, 20.0), tokens)
