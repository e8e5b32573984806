"""Computes features of new posts in the background, before anybody reacts to them."""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Final

from google.protobuf.message import DecodeError

from featurizer import metrics
from featurizer.post_features import PostFeatures
from featurizer.post_texts import is_old, post_of
from featurizer.priority import Priority
from featurizer.results import SERVICE
from kit.worker import Stopped
from slop.kafka.dead_letters import rejected
from slop.kafka.records import ConsumerRecord
from slop.redis.posts import FoundPost, PostRef, ref_of, sent_text
from slop.v1.interaction_pb2 import Rejected
from slop.v1.post_pb2 import Post

POSTS_BETWEEN_LOOKS: Final = 8  # after so many posts it looks whether to stop


class BackgroundFeatures:
    """Computes features of posts as they come, as background work.

    Only for the text features of the live basis. Under another basis most posts are never needed; the features of those
    that are needed are computed when a reaction comes.
    """

    def __init__(self, post_features: PostFeatures, are_asked_for: Callable[[], bool], stop: threading.Event) -> None:
        """The work of one lane.

        Args:
            post_features: finds posts and computes their features.
            are_asked_for: whether the lane's text features are those of the live basis. If not, posts are passed over.
            stop: ends the work after a few posts; the others come again, since they are not committed.
        """
        self._post_features, self._are_asked_for, self._stop = post_features, are_asked_for, stop

    def __call__(self, records: Sequence[ConsumerRecord]) -> list[Rejected]:
        """Compute the missing features of posts; returns those posts whose features can't be computed, as rejected.

        Raises:
            kit.worker.Stopped: `stop` was set, and posts are left.
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
    """The last record of each post. Records that are no posts are left out: the worker of texts rejects them."""
    posts: dict[PostRef, tuple[ConsumerRecord, Post]] = {}
    for record in records:
        with suppress(DecodeError):
            if (post := post_of(record)) is not None:
                posts[ref_of(post)] = record, post
    return posts
