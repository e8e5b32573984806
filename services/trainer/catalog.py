"""The posts that the featurizer knows: in memory, else in Redis, else computed from their text."""

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final

from cachetools import LRUCache, TTLCache

from slop.storage import PostRef, Posts, StoredPost
from trainer.extraction import Extractor

LOOK_AGAIN_S: Final = 0.1
UNKNOWN_FOR_S: Final = 60.0
UNKNOWN_POSTS: Final = 100_000


class Catalog:
    """Looks posts up with their features; every thread of the featurizer shares one."""

    def __init__(self, posts: Posts, extractor: Extractor, cached: int, wait_s: float, stop: threading.Event) -> None:
        """Keeps `cached` posts in memory, and waits `wait_s` at most for posts whose text has not come yet."""
        self._posts, self._extractor, self._wait_s, self._stop = posts, extractor, wait_s, stop
        self._cache: LRUCache[PostRef, StoredPost] = LRUCache(cached)
        self._unknown: TTLCache[PostRef, bool] = TTLCache(UNKNOWN_POSTS, UNKNOWN_FOR_S)
        self._lock = threading.Lock()

    def announce(self, texts: Mapping[PostRef, str]) -> dict[PostRef, str]:
        """Make texts known before their features are; returns those that have no features yet."""
        refs = list(texts)
        known = dict(zip(refs, self._posts.texts(refs), strict=True))
        new = {ref: text for ref, text in texts.items() if known[ref] != text}
        self._posts.put_texts(new)
        with self._lock:
            for ref in new:
                self._cache.pop(ref, None)
                self._unknown.pop(ref, None)
        return {ref: texts[ref] for ref, post in zip(refs, self._posts.get(refs), strict=True) if post is None}

    def compute(self, texts: Mapping[PostRef, str], *, urgent: bool) -> dict[PostRef, StoredPost]:
        """Compute and store the features of texts."""
        computed = {}
        for ref, text in texts.items():
            computed[ref] = StoredPost(text, self._extractor.features(text, urgent=urgent))
            self._posts.put({ref: computed[ref]})
        self._remember(computed)
        return computed

    def find(self, refs: Sequence[PostRef]) -> dict[PostRef, StoredPost]:
        """Posts with features for reactions that wait for them; a post that nobody has sent is left out."""
        with self._lock:
            found = {ref: self._cache[ref] for ref in refs if ref in self._cache}
        found |= self._stored([ref for ref in dict.fromkeys(refs) if ref not in found])
        missing = [ref for ref in dict.fromkeys(refs) if ref not in found]
        return found | self.compute(self._awaited_texts(missing), urgent=True)

    def _stored(self, refs: Sequence[PostRef]) -> dict[PostRef, StoredPost]:
        posts = zip(refs, self._posts.get(refs), strict=True) if refs else ()
        stored = {ref: post for ref, post in posts if post is not None}
        self._remember(stored)
        return stored

    def _remember(self, posts: Mapping[PostRef, StoredPost]) -> None:
        with self._lock:
            self._cache.update(posts)

    def _awaited_texts(self, refs: Sequence[PostRef]) -> dict[PostRef, str]:
        """Texts from Redis, waiting for those that may still be on their way through slop.posts.v1."""
        texts: dict[PostRef, str] = {}
        deadline = time.monotonic() + self._wait_s
        while left := [ref for ref in refs if ref not in texts]:
            texts |= {ref: text for ref, text in zip(left, self._posts.texts(left), strict=True) if text is not None}
            hopeful = [ref for ref in left if ref not in texts and ref not in self._unknown]
            if not hopeful or time.monotonic() > deadline or self._stop.wait(LOOK_AGAIN_S):
                break
        for ref in refs:
            if ref not in texts:
                self._unknown[ref] = True
        return texts
