"""All Kafka topics, their settings, keys and codecs."""

from dataclasses import dataclass, field
from typing import Final

from slop.v1.interaction_pb2 import Interaction, Rejected
from slop.v1.post_pb2 import Post
from slop.v1.signal_pb2 import Signal

DAY_MS: Final = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic and how it is created."""

    name: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)

    @property
    def compacted(self) -> bool:
        """Whether older records of a key may be gone while newer ones are there."""
        return self.config.get("cleanup.policy") == "compact"


# The log is the truth: interactions are kept for ever, so that any basis can be relearned from them.
INTERACTIONS: Final = Topic("slop.interactions.v1", 8, {"retention.ms": "-1"})
POSTS: Final = Topic("slop.posts.v1", 8, {"cleanup.policy": "compact"})
SIGNALS: Final = Topic("slop.signals.v1", 8, {"retention.ms": str(7 * DAY_MS)})
REJECTED: Final = Topic("slop.rejected.v1", 1, {"retention.ms": str(30 * DAY_MS)})
TOPICS: Final = (INTERACTIONS, POSTS, SIGNALS, REJECTED)

GENERATED: Final = "gen-"
"""What the ids of generated posts begin with."""


def user_key(tenant: str, user_id: str) -> bytes:
    """The record key that keeps one user's interactions and signals in order."""
    return f"{tenant}/{user_id}".encode()


def post_key(tenant: str, post_id: str) -> bytes:
    """The record key that compaction keeps the newest post under."""
    return f"{tenant}/{post_id}".encode()


def key_of(record: Interaction | Signal | Post) -> bytes:
    """The key that a record is published under."""
    if isinstance(record, Post):
        return post_key(record.tenant, record.post_id)
    return user_key(record.tenant, record.user_id)


def is_generated(post: Post) -> bool:
    """Whether generation wrote a post, even if somebody else sent it again."""
    return post.post_id.startswith(GENERATED) or bool(post.for_user_id or post.arm or post.basis)


def encode(record: Interaction | Signal | Post | Rejected) -> bytes:
    """A record's value bytes."""
    return record.SerializeToString(deterministic=True)
