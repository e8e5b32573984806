"""The live catalogue: what a basis is built from, of the catalogue's file and of the log.

The log's posts are those that people wrote: from its own output a basis would learn nothing but itself. Readers'
reactions say which posts belong together (`trainer.basis.engagement`), those of the file too, if they were shown.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple, Self

import numpy as np
import torch
from google.protobuf.message import DecodeError

from slop.basis import Basis, InvalidBasis
from slop.posts import PostRef
from slop.settings import LearningSettings
from slop.streams import Record, whole_log
from slop.topics import POSTS, is_generated
from slop.v1.post_pb2 import Post
from trainer.basis.build import read_catalogue
from trainer.basis.checkpoint import save_checkpoint
from trainer.basis.clusters import SMALLEST
from trainer.basis.engagement import Floats, engagement_of
from trainer.factors.logged import logged
from trainer.factors.reactions import Reactions

MOST_POSTS: Final = 4_000
KEPT_WHILE_READ: Final = 4  # times the most, since some are of the same text


class Entry(NamedTuple):
    """A post, by its key (see `slop.posts.PostRef`)."""

    created_at_ms: int
    key: str
    text: str


@dataclass(frozen=True, slots=True)
class Listing:
    """Different texts, and which of them each post has, by the post's key."""

    texts: list[str]
    places: dict[str, int]

    @classmethod
    def of(cls, own: Iterable[Entry], others: Iterable[Entry], most: int) -> Self:
        """All own posts, then the first `most` others of new texts; a post that is among the own is no other."""
        numbers: dict[str, int] = {}
        places = {entry.key: numbers.setdefault(entry.text, len(numbers)) for entry in own}
        room = len(numbers) + most
        for _, key, text in others:
            if key not in places and (text in numbers or len(numbers) < room):
                places[key] = numbers.setdefault(text, len(numbers))
        return cls(list(numbers), places)

    def engagement(self, reactions: Reactions, seed: int) -> Floats | None:
        """(N, C) of the texts, by reactions to any of their posts; see `engagement_of`."""
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
        engagement: (N, C), see `trainer.basis.engagement`; None where nothing is known of readers.
    """

    posts: list[str]
    engagement: Floats | None = None

    @classmethod
    def of_file(cls, path: Path) -> Self:
        """The catalogue's file alone."""
        return cls(read_catalogue(path))

    @classmethod
    def of_log(cls, path: Path, settings: LearningSettings, most: int, seed: int) -> Self:
        """The file's posts, and the newest of the log, `most` at most; tells what there is.

        Raises:
            kafka.errors.KafkaError, TimeoutError: the brokers are away.
        """
        own, others = file_entries(path, settings.tenant), posts_of(whole_log(settings, POSTS), most)
        listing = Listing.of(own, others, most)
        new = len(listing.texts) - len(Listing.of(own, (), 0).texts)
        if new < SMALLEST:
            print(f"{new} other posts in the log, {SMALLEST} are needed: the catalogue alone")
            listing = Listing.of(own, others, 0)
        else:
            print(f"{new} posts of the log beside {len(listing.texts) - new} of the catalogue")
        return cls(listing.texts, _engagement(listing, settings, seed))

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


def posts_of(records: Iterable[Record], most: int) -> list[Entry]:
    """The posts that people wrote and that were not deleted, newest first; of very many, KEPT_WHILE_READ x `most`.

    Args:
        records: of slop.posts.v1, those of a post in their order.
        most: how many will be used.
    """
    kept: dict[bytes | None, Entry] = {}
    for record in records:
        kept.pop(record.key, None)
        if (entry := _entry_of(record.value)) is not None:
            kept[record.key] = entry
        if len(kept) >= 2 * KEPT_WHILE_READ * max(most, 1):
            kept = dict(_newest(kept, most))
    return [entry for _, entry in _newest(kept, most)]


def _newest(kept: dict[bytes | None, Entry], most: int) -> Sequence[tuple[bytes | None, Entry]]:
    return sorted(kept.items(), key=lambda item: item[1], reverse=True)[: KEPT_WHILE_READ * most]


def _entry_of(value: bytes | None) -> Entry | None:
    """None of a tombstone, of what is broken or empty, and of what generation wrote."""
    try:
        post = Post.FromString(value or b"")
    except DecodeError:
        return None
    text = post.text.strip()
    if not text or is_generated(post):
        return None
    return Entry(post.created_at_ms, PostRef(post.tenant, post.post_id).key, text)


def _engagement(listing: Listing, settings: LearningSettings, seed: int) -> Floats | None:
    try:
        basis = Basis.load(settings.basis_dir)
    except InvalidBasis as error:  # the first of a model
        print(f"no reactions: {error}")
        return None
    places = listing.engagement(logged(settings, basis), seed)
    known = 0 if places is None else int(places.any(axis=1).sum())
    print(f"{known} of {len(listing.texts)} posts with enough reactions to tell who likes them")
    return places
