"""The feed: posts written ahead into real queues, by a real generation service, and given out once each."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest
from redis import Redis

from jobs.limits import Interrupted, JobLimits
from jobs.names import PREGENERATE
from jobs.pregeneration import BUDGET_KEY, LOCK_KEY, GenerationBusy, Pregeneration, TokenBudget, only_one
from jobs.settings import JobsSettings
from slop.redis.feed_queue import ACTIVE_KEY, queue_key, written_key
from slop.redis.posts import PostRef, text_key
from slop.redis.profiles import ProfileArchive, User
from tests.basis import profile_of, random_basis
from tests.clock import Clock
from tests.collectors import running
from tests.engines import HangingEngine, hanging_engine
from tests.generations import client_of, generation_server, put_profile
from tests.jobs import JobsProcess, jobs_settings
from tests.waiting import eventually

BASIS = random_basis()
ADA = User("default", "ada")
GARDENER, FAN = (2.0, -1.0, -1.0, -1.0), (-1.0, 2.0, -1.0, -1.0)
TOKENS = 4
LIMITS = {"pregeneration_posts": 6, "pregeneration_tokens_per_s": 1e6, "pregeneration_post_tokens": TOKENS}
AWAY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def engine() -> Iterator[HangingEngine]:
    with hanging_engine() as running:
        yield running


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str, kafka_bootstrap: str, engine: HangingEngine
) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("generation")
    given = {
        "redis_url": redis_url,
        "kafka_bootstrap": kafka_bootstrap,
        "vllm_url": engine.url,
        "control_share": 0,
        "generation_max_tokens": TOKENS,
    }
    server, url = generation_server(folder, BASIS, **given)
    server.start()
    with client_of(url) as client:
        eventually(lambda: client.get("/readyz").is_success)
        yield client
    server.stop()


@dataclass(frozen=True)
class Filler:
    """Fills queues in this process."""

    settings: JobsSettings
    redis: Redis
    service: httpx.Client

    def pregeneration(self, **chosen: object) -> Pregeneration:
        settings = self.settings.model_copy(update=chosen)
        archive = ProfileArchive(self.redis, BASIS.version, 1)
        return Pregeneration(self.redis, archive, BASIS, settings, clock=lambda: 0.0)

    def __call__(self, **chosen: object) -> int:
        return self.pregeneration(**chosen).fill(self.service, JobLimits(60, Event()))


@pytest.fixture
def fill(redis_client: Redis, redis_url: str, service: httpx.Client, tmp_path: Path) -> Filler:
    BASIS.save(tmp_path / "basis")
    return Filler(
        jobs_settings(tmp_path, redis_url, **LIMITS),
        redis_client,
        service,
    )


def feed(service: httpx.Client, user_id: str, n: int = 2) -> list[dict[str, Any]]:
    response = service.get(f"/v1/users/{user_id}/feed", params={"n": n})
    assert response.status_code == 200, response.text
    posts: list[dict[str, Any]] = response.json()["posts"]
    return posts


def sources(posts: list[dict[str, Any]]) -> list[bool]:
    return [post["pregenerated"] for post in posts]


def test_a_reader_who_asked_once_finds_the_next_posts_written(service: httpx.Client, fill: Filler) -> None:
    assert sources(feed(service, "ada")) == [False, False]
    assert fill() == 6
    posts = feed(service, "ada", n=4)
    assert sources(posts) == [True] * 4
    assert len({post["post_id"] for post in posts}) == 4
    assert {post["arm"] for post in posts} == {"soft"}
    assert all(fill.redis.exists(text_key(PostRef("default", post["post_id"]))) for post in posts)


def test_no_post_is_given_out_twice_however_many_ask_at_once(service: httpx.Client, fill: Filler) -> None:
    feed(service, "ada")
    fill(pregeneration_posts=30)
    with ThreadPoolExecutor(15) as pool:
        answers = list(pool.map(lambda _: feed(service, "ada", n=2), range(15)))
    ids = [post["post_id"] for posts in answers for post in posts]
    assert len(set(ids)) == len(ids) == 30
    assert all(all(sources(posts)) for posts in answers)


def test_where_too_few_are_written_the_others_are_written_while_the_reader_waits(
    service: httpx.Client, fill: Filler
) -> None:
    feed(service, "ada")
    fill()
    assert sources(feed(service, "ada", n=8)) == [True] * 6 + [False] * 2


def test_a_queue_is_filled_up_when_half_of_it_is_left(service: httpx.Client, fill: Filler) -> None:
    feed(service, "ada")
    fill()
    feed(service, "ada", n=2)
    assert fill() == 0
    feed(service, "ada", n=1)
    assert fill() == 3
    assert fill.redis.llen(queue_key(ADA)) == 6


def test_posts_are_written_anew_once_the_reader_has_moved_far(service: httpx.Client, fill: Filler) -> None:
    put_profile(fill.redis, BASIS, "ada", profile_of(BASIS, GARDENER))
    feed(service, "ada")
    fill()
    before = set(fill.redis.lrange(queue_key(ADA), 0, -1))
    put_profile(fill.redis, BASIS, "ada", profile_of(BASIS, (2.1, -1.0, -1.0, -1.0)))
    assert fill() == 0
    put_profile(fill.redis, BASIS, "ada", profile_of(BASIS, FAN))
    assert fill() == 6
    after = set(fill.redis.lrange(queue_key(ADA), 0, -1))
    assert len(after) == 6
    assert not before & after


@pytest.mark.parametrize("broken", [b"", b"\xff\xff", b"no basis\0abc", b"other\0" + bytes(16)])
def test_a_queue_of_which_it_is_not_known_what_it_was_written_under_is_written_anew(
    service: httpx.Client, fill: Filler, broken: bytes
) -> None:
    feed(service, "ada")
    fill()
    fill.redis.set(written_key(ADA), broken)
    assert fill() == 6


def test_what_is_broken_in_a_queue_is_left_out(service: httpx.Client, fill: Filler) -> None:
    fill.redis.rpush(queue_key(ADA), b"\xff\xfe no post")
    assert sources(feed(service, "ada", n=1)) == [False]


def test_the_budget_bounds_what_is_written_and_the_most_urgent_go_first(service: httpx.Client, fill: Filler) -> None:
    for user_id in ("ada", "bob"):
        feed(service, user_id)
    fill(pregeneration_posts=4)
    feed(service, "ada", n=2)
    feed(service, "bob", n=4)
    fill.redis.delete(BUDGET_KEY)
    assert fill(pregeneration_posts=4, pregeneration_tokens_per_s=20 / 60) == 5  # a minute's tokens are five posts
    assert [fill.redis.llen(queue_key(User("default", user_id))) for user_id in ("bob", "ada")] == [4, 3]
    assert fill(pregeneration_posts=4, pregeneration_tokens_per_s=20 / 60) == 0


def test_candidates_that_are_written_for_each_post_are_paid_for(
    service: httpx.Client, fill: Filler, engine: HangingEngine
) -> None:
    """The featurizer is away: the first of the candidates go into the queue."""
    put_profile(fill.redis, BASIS, "ada", profile_of(BASIS, GARDENER))
    feed(service, "ada")
    engine.texts.clear()
    assert fill(generation_candidates=2, pregeneration_tokens_per_s=40 / 60) == 5  # a minute's tokens are ten texts
    assert sum(engine.texts) == 10
    assert fill.redis.llen(queue_key(ADA)) == 5


def test_tokens_that_were_not_used_are_saved_for_a_minute(redis_client: Redis) -> None:
    clock = Clock()
    budget = TokenBudget(redis_client, 2.0, clock)
    assert budget.left() == 120
    budget.use(130)
    assert budget.left() == -10
    clock.now_s += 10
    assert budget.left() == 10
    clock.now_s += 1e6
    assert budget.left() == 120
    clock.now_s -= 2e6  # a clock that was set back gives nothing and takes nothing
    assert budget.left() == -10


def test_who_has_not_asked_for_long_is_written_nothing(service: httpx.Client, fill: Filler) -> None:
    feed(service, "ada")
    fill.redis.zadd(ACTIVE_KEY, {"default/ada": 1.0, "other/eve": 2e12})
    assert fill() == 0
    assert fill.redis.zrange(ACTIVE_KEY, 0, -1) == [b"other/eve"]


def test_only_one_fills_queues_at_a_time(fill: Filler) -> None:
    with only_one(fill.redis, 60) as mine, only_one(fill.redis, 60) as other:
        assert (mine, other) == (True, False)
    assert not fill.redis.exists(LOCK_KEY)


def test_without_generation_queues_stay_as_they_are(service: httpx.Client, fill: Filler) -> None:
    feed(service, "ada")
    with httpx.Client(base_url=AWAY) as nowhere, pytest.raises(GenerationBusy):
        fill.pregeneration().fill(nowhere, JobLimits(60, Event()))
    assert not fill.redis.exists(queue_key(ADA))


def test_a_worker_that_stops_stops_filling(service: httpx.Client, fill: Filler) -> None:
    feed(service, "ada")
    stopping = Event()
    stopping.set()
    with pytest.raises(Interrupted):
        fill.pregeneration().fill(service, JobLimits(60, stopping))


def test_while_the_engine_hangs_queued_posts_are_served_and_without_any_the_reader_is_told(
    service: httpx.Client, fill: Filler, engine: HangingEngine
) -> None:
    feed(service, "ada")
    fill()
    engine.hangs.set()
    try:
        assert sources(feed(service, "ada", n=4)) == [True] * 4
        eventually(lambda: service.get("/readyz").status_code == 503)
        assert sources(feed(service, "ada", n=4)) == [True] * 2
        response = service.get("/v1/users/ada/feed")
        assert response.status_code == 503
        assert response.headers["retry-after"]
    finally:
        engine.hangs.clear()
        eventually(lambda: service.get("/readyz").is_success)


def test_without_redis_the_feed_is_written_live(tmp_path: Path, kafka_bootstrap: str, engine: HangingEngine) -> None:
    server, url = generation_server(tmp_path, BASIS, kafka_bootstrap=kafka_bootstrap, vllm_url=engine.url)
    server.start()
    try:
        with client_of(url) as client:
            eventually(lambda: client.get("/readyz").is_success)
            assert sources(feed(client, "ada")) == [False, False]
    finally:
        server.stop()


@pytest.mark.parametrize("query", ["n=0", "n=17", "n=many"])
def test_a_number_of_posts_that_nobody_can_have_is_refused(service: httpx.Client, query: str) -> None:
    assert service.get(f"/v1/users/ada/feed?{query}").status_code == 422


def test_a_real_worker_fills_the_queues_that_beat_tells_it_to(
    service: httpx.Client, fill: Filler, tmp_path: Path
) -> None:
    settings = fill.settings.model_copy(
        update={"jobs_generation_url": str(service.base_url), "pregeneration_every_s": 0.5, "census_every_s": 3_600}
    )
    feed(service, "ada")
    with running(JobsProcess("worker", settings, tmp_path)) as worker, running(JobsProcess("beat", settings, tmp_path)):
        eventually(lambda: fill.redis.llen(queue_key(ADA)) == 6)
        eventually(lambda: worker.metric(f'slop_jobs_total{{outcome="success",task="{PREGENERATE}"}}') >= 1)
        assert worker.metric("slop_feed_written_posts_total") == 6
    assert sources(feed(service, "ada", n=6)) == [True] * 6
