"""Features of posts before anybody reacts to them."""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Final

from google.protobuf.message import DecodeError

from featurizer import metrics
from featurizer.enrichment import SERVICE
from featurizer.post_features import PostFeatures
from featurizer.post_texts import is_old, post_of
from featurizer.priority import Priority
from kit.worker import Stopped
from slop.kafka.dead_letters import rejected
from slop.kafka.records import ConsumerRecord
from slop.redis.posts import FoundPost, PostRef, ref_of, sent_text
from slop.v1.interaction_pb2 import Rejected
from slop.v1.post_pb2 import Post

POSTS_BETWEEN_LOOKS: Final = 8


class BackgroundFeatures:
    """Computes features of posts as they come, and gives way to everything else meanwhile.

    Under a basis whose features are not the live one's it computes none: for most posts nobody asks, and for those that
    somebody asks for they are computed then.
    """

    def __init__(self, post_features: PostFeatures, are_asked_for: Callable[[], bool], stop: threading.Event) -> None:
        """Computes while they `are_asked_for`; `stop` ends it between two posts, and what is left comes again."""
        self._post_features, self._are_asked_for, self._stop = post_features, are_asked_for, stop

    def __call__(self, records: Sequence[ConsumerRecord]) -> list[Rejected]:
        """Compute the features that are missing; returns the posts that can't have any.

        Raises:
            kit.worker.Stopped: posts are left.
            redis.exceptions.RedisError: Redis does not answer.
        """
        if not self._are_asked_for():
            metrics.POSTS.labels("passed").inc(len(records))
            return []
        sent = _newest(records)
        found = self._post_features.find(list(sent))
        missing: dict[PostRef, FoundPost] = {}
        for ref, (_, post) in sent.items():
            there = found.get(ref)
            if there is None and is_old(post):
                metrics.POSTS.labels("passed").inc()
            elif there is None or there.text_features is None:
                missing[ref] = there or FoundPost(sent_text(post).text)
            else:
                metrics.POSTS.labels("known").inc()
        return self._computed(missing, sent)

    def _computed(
        self, missing: dict[PostRef, FoundPost], sent: dict[PostRef, tuple[ConsumerRecord, Post]]
    ) -> list[Rejected]:
        refused: list[Rejected] = []
        left = iter(missing.items())
        while some := dict(islice(left, POSTS_BETWEEN_LOOKS)):
            if self._stop.is_set():
                raise Stopped("posts are left")
            computed, failed = self._post_features.compute(some, Priority.BACKGROUND)
            metrics.POSTS.labels("computed").inc(len(computed))
            metrics.POSTS.labels("broken").inc(len(failed))
            refused += [rejected(sent[ref][0], "failed", why.error, SERVICE) for ref, why in failed.items()]
        return refused


def _newest(records: Sequence[ConsumerRecord]) -> dict[PostRef, tuple[ConsumerRecord, Post]]:
    """The last of each post's; who reads the texts rejects what is no post."""
    posts: dict[PostRef, tuple[ConsumerRecord, Post]] = {}
    for record in records:
        with suppress(DecodeError):
            if (post := post_of(record)) is not None:
                posts[ref_of(post)] = record, post
    return posts
