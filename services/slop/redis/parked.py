"""Parked interactions: what is stored of each, and its entry in the books of `slop.redis.parking`."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple, Self
from urllib.parse import quote

from slop.redis.posts import PostRef
from slop.v1.interaction_pb2 import Interaction, Rejected


def reader_key(interaction: Interaction) -> str:
    """The reader of an interaction, as one string without spaces."""
    return f"{quote(interaction.tenant, safe='')}/{quote(interaction.user_id, safe='')}"


class Entry(NamedTuple):
    """An entry of the books, of one interaction.

    Attributes:
        name: digest of its record, in hex, so that a record that comes again is parked once.
        post: that it waits for.
        reader: whose interaction it is (see `reader_key`).
    """

    name: str
    post: PostRef
    reader: str

    def __str__(self) -> str:
        """The string that is stored."""
        return f"{self.name} {self.post.key} {self.reader}"

    @classmethod
    def of(cls, stored: str) -> Self:
        """From the string that is stored."""
        name, post, reader = stored.split(" ")
        return cls(name, PostRef.of_key(post), reader)


@dataclass(frozen=True, slots=True)
class Parked:
    """A parked interaction.

    Attributes:
        entry: of the books.
        rejected: what is published if it expires. It contains the interaction, and this is how it is stored.
    """

    entry: Entry
    rejected: Rejected

    @classmethod
    def of(cls, interaction: Interaction, rejected: Rejected, record: bytes) -> Self:
        """From an interaction, what is published if it expires, and the bytes of its record."""
        name = blake2b(record, digest_size=16).hexdigest()
        post = PostRef(interaction.tenant, interaction.post_id)
        return cls(Entry(name, post, reader_key(interaction)), rejected)

    @classmethod
    def of_stored(cls, name: str, post: PostRef, value: bytes) -> Self:
        """From what is stored under a post: the name of its entry, and the bytes of `rejected`."""
        rejected = Rejected.FromString(value)
        return cls(Entry(name, post, reader_key(Interaction.FromString(rejected.payload))), rejected)

    @property
    def interaction(self) -> Interaction:
        """The interaction itself."""
        return Interaction.FromString(self.rejected.payload)


def published_again(interaction: Interaction) -> Interaction:
    """An interaction as it is published again: with `redeliveries` + 1 and its former time of receipt."""
    again = Interaction()
    again.CopyFrom(interaction)
    again.redeliveries += 1
    return again
