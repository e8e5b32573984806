"""The posts that the featurizer knows: in memory, else in Redis, else computed from their text."""

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final

from cachetools import LRUCache, TTLCache
from prometheus_client import Counter, Histogram

from kit.worker import Stopped
from slop.posts import PostRef, Posts, PostText, StoredPost
from trainer.extraction import Extractor

LOOK_AGAIN_S: Final = 0.1
UNKNOWN_FOR_S: Final = 60.0
UNKNOWN_POSTS: Final = 100_000

LOOKUPS: Final = Counter(
    "slop_featurizer_lookups",
    "Interactions by whether their post's features were there (hit) or had to be computed first (miss).",
    ["result"],
)
HITS, MISSES = LOOKUPS.labels("hit"), LOOKUPS.labels("miss")
BATCH_POSTS: Final = Histogram(
    "slop_featurizer_batch_posts",
    "Posts whose features are computed in one go: all that a batch of interactions waits for, else one.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)


class Catalog:
    """Looks posts up with their features; every thread of the featurizer shares one."""

    def __init__(self, posts: Posts, extractor: Extractor, cached: int, wait_s: float, stop: threading.Event) -> None:
        """Keeps `cached` posts in memory, and waits `wait_s` at most for posts whose text has not come yet.

        `stop` ends the waiting, and what is computed is computed no further.
        """
        self._posts, self._extractor, self._wait_s, self._stop = posts, extractor, wait_s, stop
        self._cache: LRUCache[PostRef, StoredPost] = LRUCache(cached)
        self._unknown: TTLCache[PostRef, bool] = TTLCache(UNKNOWN_POSTS, UNKNOWN_FOR_S)
        self._lock = threading.Lock()

    def announce(self, texts: Mapping[PostRef, PostText]) -> dict[PostRef, PostText]:
        """Make texts known before their features are; returns those that have no features yet."""
        refs = list(texts)
        known = dict(zip(refs, self._posts.texts(refs), strict=True))
        new = {ref: text for ref, text in texts.items() if text.adds_to(known[ref])}
        self._posts.put_texts(new)
        with self._lock:
            for ref in new:
                self._cache.pop(ref, None)
                self._unknown.pop(ref, None)
        return {ref: texts[ref] for ref, post in zip(refs, self._posts.get(refs), strict=True) if post is None}

    def compute(self, texts: Mapping[PostRef, PostText], *, urgent: bool) -> dict[PostRef, StoredPost]:
        """Compute and store the features of texts.

        Raises:
            kit.worker.Stopped: `stop` was set; those that are computed are stored.
        """
        computed = {}
        if texts:
            BATCH_POSTS.observe(len(texts))
        features = self._extractor.features_of([text.text for text in texts.values()], urgent=urgent)
        for (ref, text), vector in zip(texts.items(), features, strict=True):
            computed[ref] = StoredPost(text, vector)
            self._posts.put({ref: computed[ref]})
            if self._stop.is_set() and len(computed) < len(texts):
                raise Stopped("posts are left")
        self._remember(computed)
        return computed

    def find(self, refs: Sequence[PostRef]) -> dict[PostRef, StoredPost]:
        """Posts with features for reactions that wait for them; a post that nobody has sent is left out."""
        with self._lock:
            found = {ref: self._cache[ref] for ref in refs if ref in self._cache}
        found |= self._stored([ref for ref in dict.fromkeys(refs) if ref not in found])
        missing = [ref for ref in dict.fromkeys(refs) if ref not in found]
        computed = self.compute(self._awaited_texts(missing), urgent=True)
        computed |= self._stored(list(computed))  # its arm may have become known meanwhile
        HITS.inc(sum(ref in found for ref in refs))
        MISSES.inc(sum(ref in computed for ref in refs))
        return found | computed

    def _stored(self, refs: Sequence[PostRef]) -> dict[PostRef, StoredPost]:
        posts = zip(refs, self._posts.get(refs), strict=True) if refs else ()
        stored = {ref: post for ref, post in posts if post is not None}
        self._remember(stored)
        return stored

    def _remember(self, posts: Mapping[PostRef, StoredPost]) -> None:
        with self._lock:
            self._cache.update(posts)

    def _awaited_texts(self, refs: Sequence[PostRef]) -> dict[PostRef, PostText]:
        """Texts from Redis, waiting for those that may still be on their way through slop.posts.v1."""
        texts: dict[PostRef, PostText] = {}
        deadline = time.monotonic() + self._wait_s
        while left := [ref for ref in refs if ref not in texts]:
            texts |= {ref: text for ref, text in zip(left, self._posts.texts(left), strict=True) if text is not None}
            with self._lock:
                hopeful = [ref for ref in left if ref not in texts and ref not in self._unknown]
            if not hopeful or time.monotonic() > deadline or self._stop.wait(LOOK_AGAIN_S):
                break
        with self._lock:
            self._unknown.update(dict.fromkeys((ref for ref in refs if ref not in texts), True))
        return texts
