"""The catalogue as the studies read it: texts, and the class names that only an evaluation may see."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from client.classes import load_classes
from client.errors import UserError
from training import CATALOGUE

LABELLED = Path(__file__).parent / "data"


@dataclass(frozen=True, slots=True)
class Post:
    """A catalogue post and its true class, which SLOP never gets."""

    post_id: str
    text: str
    label: str


@dataclass(frozen=True, slots=True)
class LabelledCatalogue:
    """Posts with their true classes: `shown` to readers and used to build the basis, and `held_out` from both."""

    shown: tuple[Post, ...]
    held_out: tuple[Post, ...]


def load_catalogue(shown: Path = CATALOGUE, labelled: Path = LABELLED) -> LabelledCatalogue:
    """Read the posts that bases are built from, and `evaluation.jsonl` and `classes.json` of the folder `labelled`.

    Raises:
        UserError: a file is missing or broken.
    """
    try:
        labels = json.loads((labelled / "classes.json").read_text())
        return LabelledCatalogue(_read(shown, labels), _read(labelled / "evaluation.jsonl", labels))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"no usable catalogue: {error!r}; write one with 'make catalogue'") from error


def _read(path: Path, labels: dict[str, str]) -> tuple[Post, ...]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return tuple(Post(row["post_id"], row["text"], labels[row["post_id"]]) for row in rows)


def by_label(posts: Iterable[Post]) -> dict[str, list[Post]]:
    """The posts of each class, in the order given."""
    groups: dict[str, list[Post]] = defaultdict(list)
    for post in posts:
        groups[post.label].append(post)
    return dict(groups)


def some_of(posts: Iterable[Post], a_class: int) -> list[Post]:
    """The first `a_class` posts of every class."""
    return [post for of_class in by_label(posts).values() for post in of_class[:a_class]]


def with_few(posts: Sequence[Post], most: Mapping[str, int]) -> list[int]:
    """Indices of posts; of a class in `most` only the first so many."""
    seen: Counter[str] = Counter()
    kept = []
    for place, post in enumerate(posts):
        seen[post.label] += 1
        if seen[post.label] <= most.get(post.label, len(posts)):
            kept.append(place)
    return kept


def hand_written() -> list[tuple[str, str]]:
    """(text, class) of the examples that people wrote, from which the catalogue's posts were generated."""
    return [(text, name) for name, spec in load_classes().items() for _, text in spec.shots]
