"""Posts in Redis: who may change what is known of them, and for how long they are kept."""

import numpy as np
import pytest
from redis import Redis
from redis import asyncio as aioredis

from slop.redis.parked import Parked
from slop.redis.parking import Parking
from slop.redis.posts import (
    DAY_S,
    POST_TTL_S,
    FoundPost,
    Origin,
    PostRef,
    Posts,
    PostText,
    RankedPosts,
    SentText,
    delete_features,
    features_key,
    put_texts_async,
    text_key,
)
from slop.v1.interaction_pb2 import Rejected
from tests.basis import random_basis
from tests.featurizers import BOUNDS, interaction

BASIS, OTHER = random_basis(), random_basis(seed=1)
POST = PostRef("default", "p")
GENERATED = PostText("text", "soft", "ann", "autumn")
FEATURES = np.linspace(-1, 1, BASIS.text_size).astype(np.float32)


@pytest.fixture
def posts(redis_client: Redis) -> Posts:
    return Posts(redis_client, BASIS)


def put(posts: Posts, text: PostText | str, at_ms: int = 1, origin: Origin = Origin.POST) -> bool:
    """Store a text of the post; returns whether it is new."""
    text = text if isinstance(text, PostText) else PostText(text)
    [stored] = posts.put_texts([(POST, SentText(text, at_ms, origin))])
    return stored.new


def known(posts: Posts) -> PostText | None:
    found = posts.find([POST]).get(POST)
    return found and found.text


def put_features(posts: Posts, text: str, features: np.ndarray = FEATURES) -> None:  # type: ignore[type-arg]
    posts.put_features({POST: FoundPost(PostText(text), features)})


def has_features(posts: Posts) -> bool:
    return posts.find([POST])[POST].text_features is not None


def test_a_post_comes_back_with_its_text_and_its_features(posts: Posts) -> None:
    put(posts, "A post – with ünïcode")
    put_features(posts, "A post – with ünïcode")
    found = posts.find([PostRef("other", "p"), POST])
    assert list(found) == [POST]
    assert found[POST].text.text == "A post – with ünïcode"
    assert np.array_equal(found[POST].text_features, FEATURES)  # type: ignore[arg-type]


def test_a_text_without_features_is_known_and_has_none(posts: Posts) -> None:
    assert put(posts, "text")
    assert known(posts) == PostText("text")
    assert not has_features(posts)


def test_all_bases_share_texts_and_each_version_has_its_own_features(redis_client: Redis, posts: Posts) -> None:
    put(posts, "text")
    put_features(posts, "text")
    other = Posts(redis_client, OTHER)
    assert known(other) == PostText("text")
    assert not has_features(other)


def test_a_copy_sent_along_makes_an_unknown_post_known_and_changes_no_known_one(posts: Posts) -> None:
    assert put(posts, "first", origin=Origin.COPY)
    assert not put(posts, "second", origin=Origin.COPY)
    assert known(posts) == PostText("first")


def test_a_post_replaces_what_a_copy_said(posts: Posts) -> None:
    put(posts, "a stranger's words", origin=Origin.COPY)
    assert put(posts, "the author's words", at_ms=0)
    assert known(posts) == PostText("the author's words")


def test_a_post_that_is_sent_again_with_another_text_is_changed_and_has_features_of_the_new_text_only(
    posts: Posts,
) -> None:
    put(posts, "first")
    put_features(posts, "first")
    assert put(posts, "second", at_ms=2)
    assert not has_features(posts)
    put_features(posts, "first")  # computed while the text changed
    assert not has_features(posts)
    put_features(posts, "second")
    assert has_features(posts)


def test_a_log_that_is_read_again_does_not_bring_older_texts_back(posts: Posts) -> None:
    put(posts, "new", at_ms=2)
    assert not put(posts, "old", at_ms=1)
    assert known(posts) == PostText("new")


def test_a_copy_takes_neither_arm_nor_text_of_a_generated_post_away(posts: Posts) -> None:
    put(posts, GENERATED)
    assert not put(posts, "text", origin=Origin.COPY)
    assert not put(posts, "other", origin=Origin.COPY)
    assert known(posts) == GENERATED


def test_the_same_text_posted_again_by_a_client_keeps_arm_and_reader(posts: Posts) -> None:
    put(posts, GENERATED)
    assert not put(posts, "text", at_ms=5)
    assert known(posts) == GENERATED


def test_an_arm_becomes_known_when_a_client_was_faster_than_the_log(posts: Posts) -> None:
    put(posts, "text", at_ms=5)
    assert not put(posts, GENERATED, at_ms=1)
    assert known(posts) == GENERATED
    put(posts, PostText("text", "crowd", "bob"), at_ms=9)
    assert known(posts) == GENERATED


def test_another_text_under_a_generated_posts_id_is_not_what_the_arm_wrote(posts: Posts) -> None:
    put(posts, GENERATED)
    put(posts, "my own words", at_ms=5)
    assert known(posts) == PostText("my own words")


@pytest.mark.parametrize("features", [np.full(BASIS.text_size, np.nan), np.zeros(BASIS.text_size - 1)])
def test_features_that_can_not_be_used_are_as_good_as_none(posts: Posts, features: np.ndarray) -> None:  # type: ignore[type-arg]
    put(posts, "text")
    put_features(posts, "text", features.astype(np.float32))
    assert not has_features(posts)


def test_a_post_is_kept_for_thirty_days_after_it_was_last_used(redis_client: Redis, posts: Posts) -> None:
    put(posts, "text")
    put_features(posts, "text")
    keys = [text_key(POST), features_key(BASIS.text_version, POST)]
    for key in keys:
        assert 0 < redis_client.ttl(key) <= POST_TTL_S
        redis_client.expire(key, 60)
    posts.find([POST])
    for key in keys:
        assert redis_client.ttl(key) > POST_TTL_S - 60


def test_a_use_is_not_noted_more_than_once_a_day(redis_client: Redis, posts: Posts) -> None:
    put(posts, "text")
    redis_client.expire(text_key(POST), POST_TTL_S - DAY_S + 60)
    posts.find([POST])
    assert redis_client.ttl(text_key(POST)) <= POST_TTL_S - DAY_S + 60


def test_a_post_is_still_found_in_a_redis_that_takes_no_writes(redis_client: Redis, posts: Posts) -> None:
    put(posts, "text")
    redis_client.expire(text_key(POST), 60)
    redis_client.config_set("min-replicas-to-write", 1)
    try:
        assert known(posts) == PostText("text")
    finally:
        redis_client.config_set("min-replicas-to-write", 0)


def test_scripts_are_loaded_again_after_redis_forgot_them(redis_client: Redis, posts: Posts) -> None:
    put(posts, "text")
    redis_client.script_flush()
    assert known(posts) == PostText("text")


def test_the_text_that_is_waited_for_says_so(redis_client: Redis, posts: Posts) -> None:
    like = interaction("p")
    record = like.SerializeToString()
    parking = Parking(redis_client, BASIS, BOUNDS)
    parking.park([Parked.of(like, Rejected(payload=record), record)], for_features=False)
    for _ in range(2):  # also when it comes again after a crash
        [stored] = posts.put_texts([(POST, SentText(PostText("text"), 1, Origin.POST))])
        assert stored.awaited


def test_features_of_one_version_are_deleted_and_texts_and_others_stay(redis_client: Redis, posts: Posts) -> None:
    other = Posts(redis_client, OTHER)
    put(posts, "text")
    for both in (posts, other):
        put_features(both, "text")
    assert sum(delete_features(redis_client, BASIS.text_version)) == 1
    assert [has_features(posts), has_features(other)] == [False, True]


def test_keys_of_a_post_are_on_one_node_of_a_cluster_and_no_name_reaches_anothers() -> None:
    names = [("a", "b/c"), ("a/b", "c"), ("a", "b}/c"), ("a}", "c"), ("a b", "c")]
    keys = {text_key(PostRef(tenant, post_id)) for tenant, post_id in names}
    assert len(keys) == len(names)
    assert all(key.count("{") == key.count("}") == 1 and " " not in key for key in keys)
    assert all(PostRef.of_key(PostRef(*name).key) == PostRef(*name) for name in names)


async def test_generation_finds_features_or_else_the_text(redis_client: Redis, redis_url: str, posts: Posts) -> None:
    async with aioredis.Redis.from_url(redis_url) as redis:
        ranked = RankedPosts(redis, BASIS, "default")
        assert await ranked.features(["p", "q"]) == [None, None]
        await put_texts_async(redis, [(POST, SentText(GENERATED, 1, Origin.POST))])
        assert await ranked.features(["p", "q"]) == ["text", None]
        put_features(posts, "text")
        found, _ = await ranked.features(["p", "q"])
        assert np.array_equal(found, FEATURES)  # type: ignore[arg-type]
    assert known(posts) == GENERATED
