"""All Kafka topics, their settings, keys and codecs."""

import socket
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Self

from kafka.admin import KafkaAdminClient, NewTopic
from kafka.cluster import ClusterMetadata
from kafka.errors import KafkaConnectionError, TopicAlreadyExistsError

from slop.basis import Basis
from slop.v1.interaction_pb2 import Interaction, Rejected
from slop.v1.post_pb2 import Post
from slop.v1.signal_pb2 import Signal

DAY_MS: Final = 24 * 3600 * 1000

# A broker would create topics that are asked for with its own settings: one partition, which is kept for a week.
# kafka-python 3.0.12 has an option of its clients for that, which it passes on to nobody.
ClusterMetadata.DEFAULT_CONFIG["allow_auto_create_topics"] = False


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

FEATURIZER_GROUP: Final = "slop.featurizer"
POST_TEXTS_GROUP: Final = "slop.featurizer.texts"
POST_FEATURES_GROUP: Final = "slop.featurizer.posts"
LEARNER_GROUP: Final = "slop.learner"


@dataclass(frozen=True, slots=True)
class Groups:
    """The consumer groups that learn under a basis; another basis has others, and so reads the log from its start.

    Attributes:
        interactions: joins interactions with features, which depend on the whole basis.
        texts: makes posts' texts known: every basis has all of them again, since Redis forgets them in time.
        features: computes text features, which bases that differ in their factors alone share.
        signals: learns.
    """

    interactions: str
    texts: str
    features: str
    signals: str

    @classmethod
    def of(cls, basis: Basis) -> Self:
        """Named by the basis' version, or by its text features'."""
        return cls(
            interactions=f"{FEATURIZER_GROUP}.{basis.version}",
            texts=f"{POST_TEXTS_GROUP}.{basis.version}",
            features=f"{POST_FEATURES_GROUP}.{basis.text_version}",
            signals=f"{LEARNER_GROUP}.{basis.version}",
        )

    def read(self) -> tuple[tuple[str, Topic], ...]:
        """Each group with the topic that it reads, in the order in which one waits for another."""
        return (
            (self.texts, POSTS),
            (self.features, POSTS),
            (self.interactions, INTERACTIONS),
            (self.signals, SIGNALS),
        )


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


def require_broker(bootstrap: str, timeout_s: float = 0.5) -> None:
    """Look whether a broker listens, which costs little; a client that fails to connect leaks a thread and its sockets.

    Raises:
        kafka.errors.KafkaConnectionError: none of the brokers `host:port,host:port` accepts a connection.
    """
    for address in bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        with suppress(OSError), socket.create_connection((host, int(port)), timeout_s):
            return
    raise KafkaConnectionError(f"no broker answers at {bootstrap}")


def create_topics(bootstrap: str, timeout_s: float = 10.0) -> list[str]:
    """Create the topics that are missing.

    Returns:
        The names of those that were created.

    Raises:
        kafka.errors.KafkaError: the brokers can't be reached or refuse.
    """
    require_broker(bootstrap)
    admin = KafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=int(timeout_s * 1000))
    try:
        missing = [topic for topic in TOPICS if topic.name not in set(admin.list_topics())]
        for topic in missing:
            _create(admin, topic)
        return [topic.name for topic in missing]
    finally:
        admin.close()


def _create(admin: KafkaAdminClient, topic: Topic) -> None:
    new = NewTopic(topic.name, num_partitions=topic.partitions, replication_factor=-1, topic_configs=topic.config)
    with suppress(TopicAlreadyExistsError):  # another service was faster
        admin.create_topics([new])
