import time
import weakref
from collections.abc import Iterator, Sequence

import pytest

from featurizer.post_texts import MOST_UNSORTED, ReactedPosts, TextStore, is_old
from slop.redis.posts import POST_TTL_S, PostRef, SentText, StoredText
from slop.v1.interaction_pb2 import Interaction
from slop.v1.post_pb2 import Post
from tests.featurizers import Polled, featurizer_settings

NOW_MS = round(1_000 * time.time())
OLD_MS = NOW_MS - 1_000 * POST_TTL_S - 60_000


class Stored:
    """A catalogue that keeps what is announced."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def announce(self, texts: Sequence[tuple[PostRef, SentText]]) -> list[StoredText]:
        self.texts += [sent.text.text for _, sent in texts]
        return [StoredText(new=True, awaited=False) for _ in texts]


def records(**created_ms: int) -> list[Polled]:
    posts = [Post(tenant="t", post_id=name, text=name, created_at_ms=at_ms) for name, at_ms in created_ms.items()]
    return [Polled(post.SerializeToString()) for post in posts] + [Polled(None)]


def test_old_posts_are_stored_if_the_log_is_about_them_and_new_ones_always() -> None:
    post_features, reads = Stored(), []

    def reacted() -> ReactedPosts:
        reads.append(1)
        return ReactedPosts([PostRef("t", "old-and-liked"), PostRef("other", "old")])

    texts = TextStore(post_features, None, reacted)  # type: ignore[arg-type]
    texts(records(new=NOW_MS))
    assert not reads
    texts(records(**{"old": OLD_MS, "old-and-liked": OLD_MS, "undated": 0}))
    texts(records(older=1))
    assert post_features.texts == ["new", "old-and-liked", "undated"]
    assert len(reads) == 1


def test_old_is_what_redis_has_forgotten() -> None:
    assert [is_old(Post(created_at_ms=at_ms)) for at_ms in (0, 1, OLD_MS, NOW_MS)] == [False, True, True, False]


@pytest.mark.parametrize("most", [2, MOST_UNSORTED])
def test_posts_that_were_reacted_to_are_known_again_by_eight_bytes_each(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featurizer.post_texts.MOST_UNSORTED", most)
    posts = [PostRef("t", f"p{number}") for number in range(9)]
    reacted = ReactedPosts([*posts, *posts])
    assert len(reacted) == 9
    assert all(post in reacted for post in posts)
    assert PostRef("t", "another") not in reacted
    assert PostRef("t", "p0") not in ReactedPosts()


def test_the_log_is_read_record_by_record_and_never_held(monkeypatch: pytest.MonkeyPatch) -> None:
    most_alive = 0

    class Read(Polled):
        """A record that is counted while anybody holds it."""

    def log(*_: object) -> Iterator[Read]:
        nonlocal most_alive
        alive = weakref.WeakSet[Read]()
        for number in range(5_000):
            record = Read(Interaction(tenant="t", post_id=f"p{number}").SerializeToString(), number)
            alive.add(record)
            most_alive = max(most_alive, len(alive))
            yield record

    monkeypatch.setattr("featurizer.post_texts.whole_log", log)
    reacted = ReactedPosts.of_log(featurizer_settings())
    assert len(reacted) == 5_000
    assert PostRef("t", "p4999") in reacted
    assert most_alive <= 3
