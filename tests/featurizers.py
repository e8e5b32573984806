"""Parts of a featurizer for tests, with an encoder that takes no time and can be told to fail."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import numpy as np
import numpy.typing as npt
from redis import Redis

from featurizer.budget import BatchLimits
from featurizer.enrichment import Enricher
from featurizer.post_features import PostFeatures, RequestedText
from featurizer.priority import PrioritySemaphore
from featurizer.settings import FeaturizerSettings
from featurizer.text_features import TextFeatures
from slop.basis import Basis
from slop.redis.parking import Parking, ParkingLimits
from slop.redis.posts import Origin, PostRef, Posts, PostText, SentText
from slop.redis.served import Remembered, SeenTexts
from slop.rewards import Rewards
from slop.text_features import EncodedText
from slop.v1.interaction_pb2 import Interaction, InteractionType
from tests.basis import TinyEmbedder

Floats = npt.NDArray[np.float32]

LIKE = InteractionType.INTERACTION_TYPE_LIKE
IMPRESSION = InteractionType.INTERACTION_TYPE_IMPRESSION
DAY_MS = 24 * 3600 * 1000
POISON = "poison"
BOUNDS = ParkingLimits(of_post=100, of_reader=100, in_all=200, expiry_ms=DAY_MS, lease_ms=60_000)
REMEMBERED = Remembered(most=3, expiry_s=100)
LIMITS = BatchLimits(posts=8, posts_of_reader=4, late_ms=60_000)


def featurizer_settings(**settings: object) -> FeaturizerSettings:
    """Settings without a file, an embedder and a model."""
    return FeaturizerSettings(**({"_env_file": None, "model": "none", "embedder": "none"} | settings))  # type: ignore[arg-type]


def now_ms() -> int:
    """By this machine's clock."""
    return time.time_ns() // 1_000_000


@dataclass
class HashEncoder:
    """(N, size) features by the digest of each text; fails over texts with POISON in them."""

    size: int
    encoded: list[str] = field(default_factory=list)
    before: Callable[[Sequence[str]], object] = lambda texts: None

    def features_and_embeddings(self, texts: Sequence[str]) -> tuple[Floats, Floats]:
        """The same for the same text, in every process."""
        self.before(texts)
        if any(POISON in text for text in texts):
            raise ValueError("it can't be encoded")
        self.encoded += texts
        return np.stack([self.row(text) for text in texts]), TinyEmbedder().embed(texts)

    def row(self, text: str) -> Floats:
        """(size,) of one text."""
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
        return np.random.default_rng(seed).normal(size=self.size).astype(np.float32)


@dataclass
class AnsweringLane:
    """What answers requests for features and embeddings under a basis, as a lane of the featurizer does."""

    basis: Basis
    post_features: PostFeatures

    def features_of(self, asked: Sequence[RequestedText]) -> list[Floats | None]:
        """As the featurizer's."""
        return self.post_features.answer(asked)

    def encoded(self, asked: Sequence[RequestedText]) -> list[EncodedText | None]:
        """As the featurizer's."""
        return self.post_features.answer_encoded(asked)


@dataclass(frozen=True)
class Polled:
    """A record as it is polled."""

    value: bytes | None
    offset: int = 0
    topic: str = "slop.interactions.v1"
    partition: int = 3
    key: bytes | None = None


def interaction(post_id: str, kind: "InteractionType.ValueType" = LIKE, **fields: object) -> Interaction:
    """What ann does now, unless the fields say otherwise."""
    usual = {"event_id": uuid4().hex, "tenant": "default", "user_id": "ann", "received_at_ms": now_ms()}
    return Interaction(post_id=post_id, type=kind, **(usual | fields))  # type: ignore[arg-type]


def polled(*interactions: Interaction) -> list[Polled]:
    """As they are polled, from offset 0 on."""
    return [Polled(record.SerializeToString(), offset) for offset, record in enumerate(interactions)]


@dataclass
class Parts:
    """What an enricher consists of."""

    basis: Basis
    encoder: HashEncoder
    features: TextFeatures
    posts: Posts
    post_features: PostFeatures
    parking: Parking
    seen: SeenTexts
    live: bool = True
    woken: int = 0

    def wake(self) -> None:
        """As the enricher does."""
        self.woken += 1

    def enricher(self, limits: BatchLimits = LIMITS) -> Enricher:
        """One that parks and rejects while `live`."""
        rewards, is_live = Rewards.of({}), lambda: self.live
        return Enricher(self.post_features, self.parking, self.basis, rewards, limits, self.seen, is_live, self.wake)

    def publish(self, **texts: str | PostText) -> None:
        """Make posts known by id, as the worker that reads slop.posts.v1 does."""
        sent = [
            (ref(post_id), SentText(text if isinstance(text, PostText) else PostText(text), now_ms(), Origin.POST))
            for post_id, text in texts.items()
        ]
        self.post_features.announce(sent)


def ref(post_id: str) -> PostRef:
    """A post of the usual tenant."""
    return PostRef("default", post_id)


@contextmanager
def parts_of(redis: Redis, basis: Basis, bounds: ParkingLimits = BOUNDS, remembered: int = 1_000) -> Iterator[Parts]:
    """The parts under a basis; they end with the block."""
    encoder = HashEncoder(basis.text_size)
    features = TextFeatures(encoder, basis.text_size, PrioritySemaphore(), remembered, lambda: parts.live)
    posts = Posts(redis, basis)
    parking, seen = Parking(redis, basis, bounds), SeenTexts(redis, REMEMBERED)
    parts = Parts(basis, encoder, features, posts, PostFeatures(posts, features), parking, seen)
    yield parts
    features.close()
