"""The catalogue with the log: the posts of the catalogue's file, and posts and reactions of the log.

Of the log only posts that people wrote are taken: from generated posts a basis would learn nothing but itself.
Reactions tell which posts are liked together (`training.basis.engagement`), also posts of the file if they were shown.
Posts that several readers reacted to go first, and one author's posts are limited where there are too many in all.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple, Self

import numpy as np
import torch
from google.protobuf.message import DecodeError

from slop.basis import Basis, InvalidBasis
from slop.kafka.log import whole_log
from slop.kafka.records import ConsumerRecord
from slop.kafka.topics import POSTS, is_generated
from slop.redis.posts import PostRef
from slop.settings import LearningSettings
from slop.v1.post_pb2 import Post
from training.basis.build import read_catalogue
from training.basis.checkpoint import save_checkpoint
from training.basis.clusters import SMALLEST
from training.basis.engagement import FEWEST_REACTIONS, Floats, engagement_of, readers_each
from training.factors.logged import logged
from training.factors.reactions import Reactions

MOST_POSTS: Final = 4_000
KEPT_WHILE_READ: Final = 4  # times `most` entries are kept while the log is read, since some have the same text
AUTHORS_SHARE: Final = 0.05  # of `most`: posts of one author beyond it go last


class Entry(NamedTuple):
    """A post, by its key (see `slop.redis.posts.PostRef`); `author` is empty where none was named."""

    created_at_ms: int
    key: str
    text: str
    author: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """Different texts, and for each post, by its key, the index of its text."""

    texts: list[str]
    places: dict[str, int]

    @classmethod
    def of(cls, own: Iterable[Entry], others: Iterable[Entry], most: int) -> Self:
        """The texts of all `own` posts, then up to `most` new texts of `others`; a post in both counts as own."""
        numbers: dict[str, int] = {}
        places = {entry.key: numbers.setdefault(entry.text, len(numbers)) for entry in own}
        room = len(numbers) + most
        for entry in others:
            if entry.key not in places and (entry.text in numbers or len(numbers) < room):
                places[entry.key] = numbers.setdefault(entry.text, len(numbers))
        return cls(list(numbers), places)

    def engagement(self, reactions: Reactions, seed: int) -> Floats | None:
        """(N, C) vectors of the texts, from reactions to any post with the text; see `engagement_of`."""
        ours = reactions.of_posts(np.array([key in self.places for key in reactions.keys], dtype=bool))
        places = np.array([self.places[key] for key in ours.keys], dtype=np.intp)
        nothing = np.zeros((len(self.texts), 0))
        moved = replace(ours, posts=places[ours.posts], keys=self.texts, text_features=nothing)
        return engagement_of(moved, seed)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What a basis is built from.

    Attributes:
        posts: N texts.
        engagement: (N, C), see `training.basis.engagement`; None where nothing is known of readers.
    """

    posts: list[str]
    engagement: Floats | None = None

    @classmethod
    def of_file(cls, path: Path) -> Self:
        """The catalogue's file alone."""
        return cls(read_catalogue(path))

    @classmethod
    def of_log(cls, path: Path, settings: LearningSettings, most: int, seed: int) -> Self:
        """The file's posts, and at most `most` of the log (see `posts_of`); prints how many there are.

        Raises:
            kafka.errors.KafkaError, TimeoutError: the brokers are away.
        """
        reactions = _reactions(settings)
        readers = {} if reactions is None else dict(zip(reactions.keys, readers_each(reactions).tolist(), strict=True))
        own, others = file_entries(path, settings.tenant), posts_of(whole_log(settings, POSTS), most, readers)
        listing = Listing.of(own, others, most)
        new = len(listing.texts) - len(Listing.of(own, (), 0).texts)
        if new < SMALLEST:
            print(f"{new} other posts in the log, {SMALLEST} are needed: the catalogue alone")
            listing = Listing.of(own, others, 0)
        else:
            print(f"{new} posts of the log beside {len(listing.texts) - new} of the catalogue")
        return cls(listing.texts, None if reactions is None else _engagement(listing, reactions, seed))

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        places = None if self.engagement is None else torch.from_numpy(self.engagement)
        save_checkpoint({"posts": self.posts, "engagement": places}, path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what was saved."""
        state = torch.load(path, weights_only=True)
        places = state["engagement"]
        return cls(state["posts"], None if places is None else places.numpy())


def file_entries(path: Path, tenant: str) -> list[Entry]:
    """The posts of a catalogue's file, which are a tenant's, in its order."""
    posts = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    return [Entry(0, PostRef(tenant, post["post_id"]).key, post["text"].strip()) for post in posts]


def posts_of(records: Iterable[ConsumerRecord], most: int, readers: Mapping[str, int]) -> list[Entry]:
    """The posts that people wrote and did not delete, the best first; at most KEPT_WHILE_READ * `most` of them.

    Posts that several readers reacted to come first, then the newest. But of one author only AUTHORS_SHARE * `most`
    posts are among these, and as many without an author. The rest come last, those without an author before the others.

    Args:
        records: of slop.posts.v1, those of a post in their order.
        most: how many will be used.
        readers: how many readers reacted to a post, by its key; a missing key means none.
    """
    kept: dict[bytes | None, Entry] = {}
    for record in records:
        kept.pop(record.key, None)
        if (entry := _entry_of(record.value)) is not None:
            kept[record.key] = entry
        if len(kept) >= 2 * KEPT_WHILE_READ * max(most, 1):
            kept = dict(_preferred(kept, most, readers))
    return [entry for _, entry in _preferred(kept, most, readers)]


def _preferred(
    kept: Mapping[bytes | None, Entry], most: int, readers: Mapping[str, int]
) -> Sequence[tuple[bytes | None, Entry]]:
    def worth(item: tuple[bytes | None, Entry]) -> tuple[bool, Entry]:
        return readers.get(item[1].key, 0) >= FEWEST_REACTIONS, item[1]

    ordered = sorted(kept.items(), key=worth, reverse=True)
    room = max(1, int(AUTHORS_SHARE * most))
    taken: Counter[str] = Counter()
    turns: tuple[list[tuple[bytes | None, Entry]], ...] = ([], [], [])
    for item in ordered:
        author = item[1].author
        taken[author] += 1
        turns[0 if taken[author] <= room else 2 if author else 1].append(item)
    return [item for turn in turns for item in turn][: KEPT_WHILE_READ * most]


def _entry_of(value: bytes | None) -> Entry | None:
    """The post of a record; None for a tombstone, and for posts that are broken, empty or generated."""
    try:
        post = Post.FromString(value or b"")
    except DecodeError:
        return None
    text = post.text.strip()
    if not text or is_generated(post):
        return None
    return Entry(post.created_at_ms, PostRef(post.tenant, post.post_id).key, text, post.author.strip())


def _reactions(settings: LearningSettings) -> Reactions | None:
    """The log's reactions under the configured basis; None, after printing why, if there is no such basis yet."""
    try:
        basis = Basis.load(settings.basis_dir)
    except InvalidBasis as error:  # the first of a model
        print(f"no reactions: {error}")
        return None
    return logged(settings, basis)


def _engagement(listing: Listing, reactions: Reactions, seed: int) -> Floats | None:
    places = listing.engagement(reactions, seed)
    known = 0 if places is None else int(places.any(axis=1).sum())
    print(f"{known} of {len(listing.texts)} posts with enough reactions to tell who likes them")
    return places
