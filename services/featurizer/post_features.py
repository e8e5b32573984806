"""Posts with their features: found in Redis, else computed from their text and stored there."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from redis.exceptions import RedisError

from featurizer import metrics
from featurizer.priority import Priority
from featurizer.text_features import NotEncoded, TextFeatures
from slop.redis.posts import Floats, FoundPost, PostRef, Posts, PostText, SentText, StoredText
from slop.text_features import EncodedText

RequestedText = tuple[PostRef | None, str]
"""A text of a request, with the post whose text it is; None if it is no post's."""


class PostFeatures:
    """Posts with one version of text features. Any thread may call it; calls may raise redis.exceptions.RedisError."""

    def __init__(self, posts: Posts, features: TextFeatures) -> None:
        self._posts, self._features = posts, features

    def find(self, refs: Sequence[PostRef]) -> dict[PostRef, FoundPost]:
        """Those of the posts that have a text."""
        return self._posts.find(list(dict.fromkeys(refs)))

    def announce(self, texts: Sequence[tuple[PostRef, SentText]]) -> list[StoredText]:
        """Store texts of posts; returns what became of each."""
        return self._posts.put_texts(texts)

    def is_free(self, post: FoundPost) -> bool:
        """Whether the post's features are in memory, so that computing them costs nothing."""
        return self._features.remembers(post.text.text)

    def compute(
        self, posts: Mapping[PostRef, FoundPost], priority: Priority
    ) -> tuple[dict[PostRef, FoundPost], dict[PostRef, NotEncoded]]:
        """Compute and store features of posts; returns the posts with features, and why the others have none."""
        if not posts:
            return {}, {}
        metrics.BATCH_POSTS.observe(len(posts))
        rows = self._features.of([post.text.text for post in posts.values()], priority)
        computed, failed = {}, {}
        for (ref, post), row in zip(posts.items(), rows, strict=True):
            if isinstance(row, NotEncoded):
                failed[ref] = row
            else:
                computed[ref] = replace(post, text_features=row)
        self._posts.put_features(computed)
        return computed, failed

    def answer(self, asked: Sequence[RequestedText]) -> list[Floats | None]:
        """Text features of requested texts: (T,) float32 for each, None if they can't be computed.

        Those of posts are stored, if Redis is there.
        """
        rows = self._features.of([text for _, text in asked], Priority.REQUEST)
        features = [None if isinstance(row, NotEncoded) else row for row in rows]
        self._store(asked, features)
        return features

    def answer_encoded(self, asked: Sequence[RequestedText]) -> list[EncodedText | None]:
        """As `answer`, with the embeddings."""
        rows = self._features.encoded([text for _, text in asked], Priority.REQUEST)
        encoded = [None if isinstance(row, NotEncoded) else row for row in rows]
        self._store(asked, [None if one is None else one.features for one in encoded])
        return encoded

    def _store(self, asked: Sequence[RequestedText], features: Sequence[Floats | None]) -> None:
        with suppress(RedisError):
            self._posts.put_features(
                {
                    post: FoundPost(PostText(text), row)
                    for (post, text), row in zip(asked, features, strict=True)
                    if post is not None and row is not None
                }
            )
