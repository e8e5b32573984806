"""The readers of a load test: who comes, what each likes, and how long each looks at a post.

A reader's tastes and pace follow from the number alone, so that the same reader is the same person in every run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final

import numpy as np

from client.catalogue import Post
from client.classes import detected_styles, detected_topic, load_classes
from client.readers import GLANCE, PACE_SPREAD, Reader
from client.rest import Event

NOISE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Seen:
    """A reader's look at a post: the events to send, and how long the post was in view, seconds."""

    events: tuple[Event, ...]
    in_view_s: float


def number_of(uniform: float, readers: int, skew: float) -> int:
    """The number of the reader who comes: k of 0 to `readers` - 1 in proportion to about (k + 1)**-skew.

    It inverts the distribution function of the continuous power law, for 0 <= skew < 1.

    Args:
        uniform: a draw from [0, 1).
        readers: how many there are.
        skew: 0 for all equally often.
    """
    power = 1 - skew
    rank = (1 + uniform * ((readers + 1) ** power - 1)) ** (1 / power)
    return min(int(rank), readers) - 1


def reader_of(number: int) -> Reader:
    """The reader of a number, with one or two tastes."""
    rng = np.random.default_rng(number)
    tastes = rng.choice(class_names(), size=1 + number % 2, replace=False)
    return Reader(f"reader-{number:07}", tuple(map(str, tastes)), float(rng.lognormal(sigma=PACE_SPREAD)))


def seen(reader: Reader, post_id: str, text: str, rng: np.random.Generator) -> Seen:
    """Look at a post: an impression, and a like, a skip, or the time spent on it."""
    liked = sorted(classes_of(text) & frozenset(reader.tastes))
    reaction = reader.react(Post(post_id, text, liked[0] if liked else ""), NOISE, rng)
    events = (
        Event(reader.user_id, post_id, "impression"),
        Event(reader.user_id, post_id, reaction.signal, reaction.milliseconds),
    )
    share = 1.0 if reaction.liked else GLANCE
    in_view_ms = share * reader.reading_time_ms(text) if reaction.milliseconds is None else reaction.milliseconds
    return Seen(events, in_view_ms / 1_000)


@lru_cache(maxsize=10_000)
def classes_of(text: str) -> frozenset[str]:
    """The classes of the catalogue that a text has, by their detectors."""
    topic = detected_topic(text)
    return frozenset(detected_styles(text)) | ({topic} if topic else frozenset())


@cache
def class_names() -> Sequence[str]:
    """The names of all classes of the catalogue."""
    return tuple(load_classes())
