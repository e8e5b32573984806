"""Simulated readers: hidden tastes, what they are shown, and how they react.

One interaction is one post seen, with exactly one signal: a like, a skip, or the time spent on it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count as numbers
from typing import Final, Literal

import numpy as np

from client.catalogue import Post
from client.errors import UserError
from slop.arms import Arm, arm_of, soft_or_control
from slop.settings import CommonSettings
from slop.words import word_count

# Silent reading of English non-fiction is 238 words a minute (Brysbaert 2019, J. Memory and Language 109).
MS_A_WORD: Final = 60_000 / 238
MS_TO_START: Final = 400.0
PACE_SPREAD: Final = 0.15
LIKE_SHARE: Final = 0.6
SKIP_SHARE: Final = 0.4
LINGER: Final = 2.0
GLANCE: Final = 0.32
DWELL_SPREAD: Final = 0.2

Signal = Literal["like", "skip", "dwell"]


@dataclass(frozen=True, slots=True)
class Reaction:
    """A reader's signal on a post; `liked` is what it says, noise included; `milliseconds` is set for a dwell."""

    post: Post
    signal: Signal
    milliseconds: float | None
    liked: bool


@dataclass(frozen=True, slots=True)
class Reader:
    """A simulated person.

    Attributes:
        tastes: the hidden classes that the reader likes; SLOP learns of them only by reactions.
        pace: reading time, as a multiple of the average reader's.
    """

    user_id: str
    tastes: tuple[str, ...]
    pace: float

    def reading_time_ms(self, text: str) -> float:
        """How long this person needs to read a text."""
        return self.pace * (MS_TO_START + MS_A_WORD * word_count(text))

    def react(self, post: Post, noise: float, rng: np.random.Generator) -> Reaction:
        """React to a post; with probability `noise` as if the reader's opinion were the opposite."""
        liked = (post.label in self.tastes) != (rng.random() < noise)
        if rng.random() < (LIKE_SHARE if liked else SKIP_SHARE):
            return Reaction(post, "like" if liked else "skip", None, liked)
        share = (LINGER if liked else GLANCE) * rng.lognormal(sigma=DWELL_SPREAD)
        return Reaction(post, "dwell", round(share * self.reading_time_ms(post.text)), liked)


def treated(name: str) -> str:
    """A user id that begins with `name` and is in the arm `soft`, for a share of the control of at most a half."""
    half = soft_or_control(0.5)
    tenant, names = CommonSettings().tenant, (f"{name}-{number}" for number in numbers())
    return next(user_id for user_id in names if arm_of(tenant, user_id, half) == Arm.SOFT)


def deal_tastes(labels: Sequence[str], sizes: Iterable[int], rng: np.random.Generator) -> Iterator[tuple[str, ...]]:
    """Tuples of different classes, `sizes` of them, from a shuffled deck: every class comes up equally often."""
    deck: list[str] = []
    for wanted in sizes:
        if len(deck) < wanted:
            deck += [str(label) for label in rng.permutation(labels) if label not in deck]
        tastes, deck = tuple(deck[:wanted]), deck[wanted:]
        yield tastes


def deal_readers(labels: Sequence[str], count: int, run: str, rng: np.random.Generator) -> list[Reader]:
    """Readers with one and two tastes in turn.

    Args:
        labels: all classes, at least two.
        count: how many readers.
        run: goes into the user ids, so that runs do not mix.
        rng: source of the deck and of the reading speeds.
    """
    dealt = deal_tastes(labels, (1 + number % 2 for number in range(count)), rng)
    return [
        Reader(treated(f"reader-{run}-{number:02}"), tastes, pace_of_reading(rng))
        for number, tastes in enumerate(dealt)
    ]


def pace_of_reading(rng: np.random.Generator) -> float:
    """A person's, around 1."""
    return float(rng.lognormal(sigma=PACE_SPREAD))


def deal_feeds(
    readers: Sequence[Reader],
    posts: Mapping[str, Sequence[Post]],
    length: int,
    exposure: float,
    rng: np.random.Generator,
) -> list[list[Post]]:
    """What each reader is shown, in order: different posts, the tastes spread evenly over the feed.

    Args:
        readers: for whom.
        posts: the catalogue by class; every class starts with the same posts for every reader, to keep the pool small.
        length: posts a reader.
        exposure: share of the feed from the reader's own classes, as a feed that people chose to follow would have;
            the rest is drawn from all classes.
        rng: source of every choice.

    Returns:
        One list of `length` posts for each reader.

    Raises:
        UserError: the catalogue has too few posts of a class.
    """
    pool = _pool(readers, posts, length, exposure)
    return [_feed(reader, pool, length, exposure, rng) for reader in readers]


def _own(reader: Reader, length: int, exposure: float) -> int:
    """Posts of each taste in a reader's feed."""
    return round(length * exposure / len(reader.tastes))


def _pool(
    readers: Sequence[Reader], posts: Mapping[str, Sequence[Post]], length: int, exposure: float
) -> dict[str, list[Post]]:
    others = -(-length // len(posts)) + 1
    needed = dict.fromkeys(posts, others)
    for reader in readers:
        for taste in reader.tastes:
            needed[taste] = max(needed[taste], _own(reader, length, exposure))
    short = [label for label, count in needed.items() if len(posts[label]) < count]
    if short:
        raise UserError(f"the catalogue has too few posts of {', '.join(short)} for feeds of {length}")
    return {label: list(posts[label][:count]) for label, count in needed.items()}


def _feed(
    reader: Reader, pool: Mapping[str, Sequence[Post]], length: int, exposure: float, rng: np.random.Generator
) -> list[Post]:
    own = [_some(pool[taste], _own(reader, length, exposure), rng) for taste in reader.tastes]
    chosen = [post for group in zip(*own, strict=True) for post in group][:length]
    rest = [post for group in pool.values() for post in group if post not in chosen]
    others = _some(rest, length - len(chosen), rng)
    return _spread(chosen, others, rng)


def _some(posts: Sequence[Post], count: int, rng: np.random.Generator) -> list[Post]:
    return [posts[i] for i in rng.permutation(len(posts))[:count]]


def _spread(own: Sequence[Post], others: Sequence[Post], rng: np.random.Generator) -> list[Post]:
    """Merge two lists at random, with about the same proportion of both in every part of the feed."""
    slots = [(i + rng.random()) / len(group) for group in (own, others) for i in range(len(group))]
    merged = [*own, *others]
    return [merged[i] for i in np.argsort(slots)]
