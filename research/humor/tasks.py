"""Which jokes are ranked for which readers: known ones and unseen ones."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from research.ratings import FULL_RATING, RatedJokes, Rater, joke_post_id
from slop.redis.posts import PostRef
from slop.rewards import RATE_WEIGHT
from training.factors import Reactions

COUNTS: Final = (0, 1, 3, 5, 10, 20, 40)
FEWEST_UNSEEN: Final = 8
TENANT: Final = "default"


@dataclass(frozen=True, slots=True)
class Task:
    """New readers: the ratings to learn, in order, and those to rank."""

    name: str
    given: list[list[tuple[int, float]]]
    asked: list[dict[int, float]]

    def part(self, readers: int, asked: int) -> "Task":
        """The first `readers` readers, with `asked` jokes each to rank; both are in random order."""
        few = [dict(list(ratings.items())[:asked]) for ratings in self.asked[:readers]]
        return Task(self.name, self.given[:readers], few)


class Jokes:
    """The jokes as arrays; an index is a joke's place in the data."""

    def __init__(self, data: RatedJokes, text_features: npt.NDArray[np.float32]) -> None:
        self.index = {joke: place for place, joke in enumerate(data.jokes)}
        self.texts = list(data.jokes.values())
        self.keys = [PostRef(TENANT, joke_post_id(text)).key for text in self.texts]
        self.text_features = text_features

    def reactions(self, data: RatedJokes, readers: Sequence[str], known: npt.NDArray[np.intp]) -> Reactions:
        """What readers said of the known jokes, with those jokes alone."""
        place = {int(joke): number for number, joke in enumerate(known)}
        entries = [
            (reader, place[self.index[joke]], rating / FULL_RATING)
            for reader, user in enumerate(readers)
            for joke, rating in data.ratings[user].items()
            if self.index[joke] in place
        ]
        people, posts, values = zip(*entries, strict=True)
        return Reactions(
            readers=np.array(people, np.intp),
            posts=np.array(posts, np.intp),
            values=np.array(values),
            weights=np.full(len(entries), RATE_WEIGHT),
            keys=[self.keys[joke] for joke in known],
            text_features=self.text_features[known].astype(np.float64),
        )

    def rated(self, ratings: Iterable[tuple[str, float]]) -> list[tuple[int, float]]:
        """Ratings in [-1, 1] by joke, in the same order."""
        return [(self.index[joke], rating / FULL_RATING) for joke, rating in ratings]


def known_task(raters: Sequence[Rater], all_jokes: Jokes) -> Task:
    """Everybody's first 40 ratings are given, the rest is ranked."""
    asked = [dict(all_jokes.rated(rater.rest.items())) for rater in raters]
    return Task("known", [all_jokes.rated(rater.order) for rater in raters], asked)


def unseen_task(raters: Sequence[Rater], all_jokes: Jokes, unseen: frozenset[int]) -> Task:
    """Ratings of the unseen jokes are ranked; the first 40 of the others are given."""
    given, asked = [], []
    for rater in raters:
        everything = all_jokes.rated([*rater.order, *rater.rest.items()])
        judged = {joke: value for joke, value in everything if joke in unseen}
        if len(judged) >= FEWEST_UNSEEN:
            given.append([(joke, value) for joke, value in everything if joke not in unseen][: max(COUNTS)])
            asked.append(judged)
    return Task("unseen", given, asked)
