"""Real people's ratings of jokes, and how well an order of the jokes agrees with them."""

import csv
import gzip
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np

from client.errors import UserError
from research.metrics import pair_accuracy

FULL_RATING: Final = 10.0
CLEAR_GAP: Final = 2.0
FEWEST_LEFT: Final = 10

Ratings = dict[str, float]
"""One person's ratings, {joke id: rating in [-10, 10]}."""


@dataclass(frozen=True, slots=True)
class RatedJokes:
    """Jokes, {id: text}, and everybody's ratings by user."""

    jokes: dict[str, str]
    ratings: dict[str, Ratings]


@dataclass(frozen=True, slots=True)
class Rater:
    """A real person in the replay: `order` is what is sent, in that order; `rest` is what is ranked."""

    user_id: str
    order: tuple[tuple[str, float], ...]
    rest: Ratings

    def agreement(self, scores: Mapping[str, float]) -> float | None:
        """Share of clearly different pairs of the rest that the scores put in this person's order, if there are any."""
        listed = list(self.rest)
        return pair_accuracy([scores[j] for j in listed], [self.rest[j] for j in listed], CLEAR_GAP)


def load_ratings(folder: Path) -> RatedJokes:
    """Read jokes.json and ratings.csv.gz.

    Raises:
        UserError: a file is missing or broken.
    """
    try:
        jokes = {str(key): str(text) for key, text in json.loads((folder / "jokes.json").read_text()).items()}
        ratings: dict[str, Ratings] = {}
        with gzip.open(folder / "ratings.csv.gz", "rt", newline="") as file:
            for row in csv.DictReader(file):
                ratings.setdefault(row["user_id"], {})[row["joke_id"]] = _rating(row["rating"])
    except (OSError, EOFError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"no usable ratings in {folder}: {error!r}; pass DATA=folder with jokes.json ({{id: text}}) and "
            "ratings.csv.gz (user_id,joke_id,rating from -10 to 10)"
        ) from error
    unknown = {joke for rated in ratings.values() for joke in rated} - jokes.keys()
    if unknown:
        raise UserError(f"{folder}: ratings of jokes that jokes.json lacks: {', '.join(sorted(unknown)[:5])}")
    return RatedJokes(jokes, ratings)


def _rating(text: str) -> float:
    rating = float(text)
    if not (math.isfinite(rating) and abs(rating) <= FULL_RATING):
        raise ValueError(f"rating {text} is not from -10 to 10")
    return rating


def chosen_raters(data: RatedJokes, most: int, sent: int, rng: np.random.Generator) -> dict[str, Rater]:
    """A random choice of at most `most` people with enough ratings, by their ids in the data.

    Args:
        data: everybody.
        most: how many at most.
        sent: ratings that are sent of each; more than ten others must be left to rank.
        rng: source of the choice and of everyone's order.

    Raises:
        UserError: nobody has enough ratings.
    """
    enough = [user for user, ratings in data.ratings.items() if len(ratings) > sent + FEWEST_LEFT]
    if not enough:
        raise UserError(f"nobody in the data has rated more than {sent + FEWEST_LEFT} jokes")
    users = [enough[i] for i in rng.permutation(len(enough))[:most]]
    return {user: _rater(user, data.ratings[user], sent, rng) for user in users}


def _rater(user: str, ratings: Ratings, sent: int, rng: np.random.Generator) -> Rater:
    items = list(ratings.items())
    shuffled = [items[i] for i in rng.permutation(len(items))]
    return Rater(user, tuple(shuffled[:sent]), dict(shuffled[sent:]))


def joke_post_id(text: str) -> str:
    """The post id of a joke."""
    return f"joke-{sha256(text.encode()).hexdigest()[:12]}"


def crowd_means(data: RatedJokes, without: Iterable[str]) -> dict[str, float]:
    """Every joke's mean rating by all people but some; 0 for a joke that nobody else has rated."""
    left_out = set(without)
    given: dict[str, list[float]] = {joke: [] for joke in data.jokes}
    for user, ratings in data.ratings.items():
        if user not in left_out:
            for joke, rating in ratings.items():
                given[joke].append(rating)
    return {joke: math.fsum(values) / len(values) if values else 0.0 for joke, values in given.items()}
