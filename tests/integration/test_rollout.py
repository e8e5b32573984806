"""A new basis, or the live one anew, is learned beside the live one and takes its place while readers ask; and back."""

import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path

import httpx
import pytest
from kafka import KafkaProducer
from redis import Redis

from featurizer.enrichment import Enricher
from featurizer.post_features import PostFeatures
from featurizer.priority import PrioritySemaphore
from featurizer.settings import FeaturizerSettings
from featurizer.text_features import TextFeatures
from infra.local.ports import free_port
from infra.local.ready import http_answers
from jobs.catching_up import RolloutFailed
from jobs.limits import JobLimits
from jobs.relearn import NEWEST, relearn
from jobs.rollout import RolloutRefused, cancel, roll_back, roll_out
from jobs.settings import JobsSettings
from jobs.snapshots import take_snapshot
from learner.learning import Learner
from learner.settings import LearnerSettings
from slop.basis import Basis, InvalidBasis, Template
from slop.embedder import Embedder
from slop.encoder import Encoder
from slop.kafka.brokers import create_topics
from slop.kafka.log import whole_log
from slop.kafka.log_epochs import LogEpochs
from slop.kafka.topics import INTERACTIONS, POSTS, encode, key_of
from slop.redis.parking import Parking, all_parked
from slop.redis.posts import PostRef, Posts, PostText, SentText, features_key
from slop.redis.profiles import ProfileArchive, Profiles, profile_key
from slop.redis.served import SeenTexts
from slop.rewards import Rewards
from slop.rollout.live import Bases, BasisRef, LiveBases
from slop.v1.interaction_pb2 import Interaction, InteractionType
from slop.v1.post_pb2 import Post
from tests.basis import basis_of
from tests.featurizers import interaction as interaction_of
from tests.jobs import environment, jobs_settings
from tests.learners import everything
from tests.servers import HOST, KafkaServer, Server
from tests.tiny_embedder import save_tiny_embedder
from tests.tiny_model import WORDS, random_prompts, save_tiny_model
from tests.waiting import eventually
from training.language_model import revision_of

ROOT = Path(__file__).parents[2]
READERS = [f"reader-{number}" for number in range(6)]
TEXTS = {f"post-{number}": " ".join([*WORDS[number : number + 4], "."]) for number in range(12)}
EVENTS = count()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_tiny_model(folder)
    return folder


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_embedder(tmp_path_factory.mktemp("embedders") / "tiny")


def saved(folder: Path, model: Path, seed: int, template: Template | None = None) -> Path:
    """A basis of the model, in a folder of its own."""
    basis = basis_of(random_prompts(4, seed=seed).numpy())
    replace(basis, revision=revision_of(model), template=template or Template()).save(folder / f"basis-{seed}")
    return folder / f"basis-{seed}"


@pytest.fixture
def settings(
    tmp_path: Path, model: Path, embedder: Path, redis_client: Redis, redis_url: str, fresh_kafka: KafkaServer
) -> JobsSettings:
    """Settings of a stack with nothing in it, whose configured basis is that of seed 1."""
    assert redis_client.dbsize() == 0
    create_topics(fresh_kafka.bootstrap)
    return jobs_settings(
        tmp_path,
        redis_url,
        basis_dir=saved(tmp_path, model, seed=1),
        kafka_bootstrap=fresh_kafka.bootstrap,
        model=str(model),
        embedder=str(embedder),
        follow_s=0.2,
        rollout_linger_s=2,
        rollout_timeout_s=120,
    )


@dataclass(frozen=True, slots=True)
class Running:
    """Featurizer, learner and generation, and where generation answers."""

    generation: httpx.Client

    def basis(self) -> str:
        """What a reader's profile is told under."""
        return str(self.generation.get(f"/v1/users/{READERS[0]}/profile").raise_for_status().json()["basis"])

    def interactions(self, reader: str = READERS[0]) -> int:
        """How many signals of a reader were learned, under the live basis."""
        answer = self.generation.get(f"/v1/users/{reader}/profile")
        return int(answer.json().get("interactions", 0))

    def knows_all_posts(self) -> bool:
        """Whether the features of all posts are there: nothing is parked for them, and all is learned in order."""
        body = {"user_id": READERS[0], "posts": [{"post_id": post_id} for post_id in TEXTS]}
        return None not in self.generation.post("/v1/rank", json=body).raise_for_status().json()["scores"]

    def everybody_has(self, interactions: int) -> bool:
        """Whether every reader's profile has learned so many signals: nothing is parked any more."""
        return all(self.interactions(reader) == interactions for reader in READERS)


@pytest.fixture
def running(settings: JobsSettings, tmp_path: Path) -> Iterator[Running]:
    ports = {name: free_port() for name in ("featurizer", "learner", "generation")}
    more = {f"SLOP_{name.upper()}_PORT": str(port) for name, port in ports.items()}
    more |= {"SLOP_FEATURIZER_URL": f"http://{HOST}:{ports['featurizer']}", "SLOP_FEATURIZER_THREADS": "1"}
    more |= {"SLOP_VLLM_URL": f"http://{HOST}:{free_port()}/v1"}
    with ExitStack() as stack:
        for name, module, path in (
            ("featurizer", "featurizer", "readyz"),
            ("learner", "learner", "readyz"),
            ("generation", "generation", "healthz"),
        ):
            url = f"http://{HOST}:{ports[name]}"
            env = environment(settings) | more
            answers, log = partial(http_answers, f"{url}/{path}"), tmp_path / f"{name}.log"
            server = Server([sys.executable, "-m", module], answers, log, env, timeout_s=180)
            stack.callback(server.stop)
            server.start()
        yield Running(stack.enter_context(httpx.Client(base_url=url, timeout=60)))


def publish(bootstrap: str, reactions: int) -> None:
    """Publish all posts, then so many reactions of every reader."""
    publish_posts(bootstrap)
    publish_reactions(bootstrap, reactions)


def publish_posts(bootstrap: str) -> None:
    """Publish all posts."""
    with closing(KafkaProducer(bootstrap_servers=bootstrap)) as producer:
        for post_id, text in TEXTS.items():
            post = Post(post_id=post_id, tenant="default", text=text)
            producer.send(POSTS.name, key=key_of(post), value=encode(post)).get(timeout=30)


def publish_reactions(bootstrap: str, reactions: int) -> None:
    """Publish so many reactions of every reader."""
    with closing(KafkaProducer(bootstrap_servers=bootstrap)) as producer:
        for _ in range(reactions):
            for user_id in READERS:
                event = next(EVENTS)
                interaction = Interaction(
                    event_id=f"event-{event}",
                    tenant="default",
                    user_id=user_id,
                    post_id=f"post-{(event + event // len(READERS)) % len(TEXTS)}",  # another for every decision
                    type=InteractionType.INTERACTION_TYPE_LIKE if event % 3 else InteractionType.INTERACTION_TYPE_SKIP,
                    received_at_ms=round(1_000 * time.time()),
                )
                producer.send(INTERACTIONS.name, key=key_of(interaction), value=encode(interaction)).get(timeout=30)


def publish_like(bootstrap: str, user_id: str, post_id: str) -> None:
    """Publish one like."""
    like = interaction_of(post_id, user_id=user_id)
    with closing(KafkaProducer(bootstrap_servers=bootstrap)) as producer:
        producer.send(INTERACTIONS.name, key=key_of(like), value=encode(like)).get(timeout=30)


def relearned(settings: JobsSettings, basis: Basis, redis: Redis) -> Mapping[bytes, object]:
    """What a featurizer and a learner that never ran before make of the whole log, into an empty Redis."""
    redis.flushdb()
    featurizing = FeaturizerSettings(_env_file=None, embedder=settings.embedder)
    learning = LearnerSettings(_env_file=None, **settings.model_dump(include=set(LearnerSettings.model_fields)))
    encoder = Encoder(basis, Embedder.of(featurizing))
    features = TextFeatures(encoder, basis.text_size, PrioritySemaphore(), 100, lambda: False)
    post_features = PostFeatures(Posts(redis, basis), features)
    post_features.announce([(PostRef("default", post_id), SentText(PostText(text))) for post_id, text in TEXTS.items()])
    parking = Parking(redis, basis, featurizing.parking_bounds())
    with closing(LogEpochs(settings.kafka_bootstrap, [INTERACTIONS.name])) as logs:
        epoch = logs.look()[INTERACTIONS.name]
    seen = SeenTexts(redis, featurizing.remembered())
    enricher = Enricher(post_features, parking, basis, Rewards.of({}), featurizing.batch_limits(), seen, lambda: False)
    signals = enricher.enrich(list(whole_log(settings, INTERACTIONS)), epoch).signals
    features.close()
    redis.flushdb()
    window_ms = 1_000 * settings.seen_window_s
    learner = Learner(Profiles(redis, basis.version, window_ms), basis, learning.prior_of(basis), window_ms)
    outcome = learner.learn([encode(signal) for signal in signals])
    assert outcome.learned + outcome.retried == len(signals) > 0  # what was parked first is in the log twice
    return everything(redis)


def learned(redis: Redis, basis: Basis) -> dict[bytes, object]:
    """The profiles and the seen events under a basis."""
    found: dict[bytes, object] = {key: redis.hgetall(key) for key in redis.keys(f"slop:profile:{basis.version}:*")}
    for key in redis.keys(f"slop:recent:{basis.version}:*"):
        found[key] = redis.get(key)
    return found


@contextmanager
def readers_asking(generation: httpx.Client) -> Iterator[list[str]]:
    """Ask for ranks of texts, which the featurizer computes, all the time; yields the bases of the answers so far."""
    seen, failures, stop = list[str](), list[str](), threading.Event()

    def ask() -> None:
        body = {"user_id": READERS[0], "posts": [{"text": "the dog barks"}, {"post_id": "post-1"}]}
        while not stop.is_set():
            answer = generation.post("/v1/rank", json=body)
            if answer.is_success and None not in answer.json()["scores"]:
                seen.append(answer.json()["personalization"]["basis"])
            else:
                failures.append(answer.text)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join(60)
    assert failures == []


def switches(bases: list[str]) -> list[str]:
    """The bases in the order in which they followed each other."""
    return [basis for at, basis in enumerate(bases) if at == 0 or bases[at - 1] != basis]


def test_a_basis_is_rolled_out_and_back_while_readers_ask(
    settings: JobsSettings, running: Running, redis_client: Redis, redis_url: str, tmp_path: Path, model: Path
) -> None:
    old, new = Basis.load(settings.basis_dir), Basis.load(saved(tmp_path, model, seed=2))
    publish_posts(settings.kafka_bootstrap)
    eventually(running.knows_all_posts)
    publish_reactions(settings.kafka_bootstrap, 5)
    eventually(lambda: running.everybody_has(5))
    said: list[str] = []

    with readers_asking(running.generation) as bases, Redis.from_url(redis_url.replace("/0", "/1")) as empty:
        assert roll_out(settings, tmp_path / "basis-2", said.append, anyway=True).version == new.version
        assert running.basis() == new.version
        assert f"{new.version} has caught up" in said
        assert learned(redis_client, new) == relearned(settings, new, empty)

        publish_reactions(settings.kafka_bootstrap, 3)
        eventually(lambda: running.everybody_has(8))
        before = learned(redis_client, old)
        assert LiveBases(redis_client, BasisRef.of(settings.basis_dir)).read().also_followed is None

        assert roll_back(settings, said.append).version == old.version
        assert running.basis() == old.version
        after = learned(redis_client, old)
        assert after != before
        assert after == relearned(settings, old, empty)
        assert learned(redis_client, new) == relearned(settings, new, empty)
    assert switches(bases) == [old.version, new.version, old.version]
    with pytest.raises(RolloutRefused, match="gone back from"):
        roll_back(settings, said.append)


def followed_by_all(redis: Redis, settings: JobsSettings, folder: Path) -> None:
    """Say that a basis is followed, a moment from now, as processes do."""

    def tell() -> None:
        live, version = LiveBases(redis, BasisRef.of(settings.basis_dir)), BasisRef.of(folder).version
        eventually(lambda: live.read().also_followed is not None)
        for part in ("featurizer", "learner", "generation"):
            live.report(part, {version: ""})

    threading.Thread(target=tell).start()


def test_what_does_not_catch_up_in_time_is_not_live(
    settings: JobsSettings, redis_client: Redis, tmp_path: Path, model: Path
) -> None:
    publish(settings.kafka_bootstrap, reactions=1)
    hurried, folder = settings.model_copy(update={"rollout_timeout_s": 1}), saved(tmp_path, model, seed=2)
    followed_by_all(redis_client, settings, folder)
    with pytest.raises(RolloutFailed, match="records behind"):
        roll_out(hurried, folder, lambda _: None)
    configured = BasisRef.of(settings.basis_dir)
    assert LiveBases(redis_client, configured).read() == Bases(configured)


def test_who_goes_back_is_back_however_long_it_takes_to_catch_up(
    settings: JobsSettings, redis_client: Redis, tmp_path: Path, model: Path
) -> None:
    publish(settings.kafka_bootstrap, reactions=1)
    first, bad = BasisRef.of(settings.basis_dir), BasisRef.of(saved(tmp_path, model, seed=2))
    live = LiveBases(redis_client, first)
    live.write(Bases(bad, former=first))
    followed_by_all(redis_client, settings, settings.basis_dir)
    said: list[str] = []
    hurried = settings.model_copy(update={"rollout_timeout_s": 1})
    assert roll_back(hurried, said.append) == first
    assert "catches up by itself" in said[-1]
    assert live.read() == Bases(first)
    with pytest.raises(RolloutRefused, match="gone back from"):
        roll_back(hurried, said.append)


def test_profiles_of_the_basis_before_the_former_one_are_deleted(
    settings: JobsSettings, redis_client: Redis, tmp_path: Path, model: Path
) -> None:
    first, second = BasisRef.of(settings.basis_dir), BasisRef.of(saved(tmp_path, model, seed=2))
    live, third = LiveBases(redis_client, first), saved(tmp_path, model, seed=3)
    live.write(Bases(second, former=first))
    for place in (first, second):
        redis_client.hset(profile_key(place.version, "default", "ann"), "profile", "what was learned")
        redis_client.set(features_key(place.load().text_version, PostRef("default", "p")), "features")
    followed_by_all(redis_client, settings, third)
    roll_out(settings, third, lambda _: None, anyway=True)
    assert live.read() == Bases(BasisRef.of(third), former=second)
    assert redis_client.keys("slop:profile:*") == [profile_key(second.version, "default", "ann").encode()]
    kept = features_key(second.load().text_version, PostRef("default", "p"))
    assert redis_client.keys("slop:features:*") == [kept.encode()]


def test_what_was_followed_beside_is_followed_no_more_after_a_cancel(
    settings: JobsSettings, redis_client: Redis, tmp_path: Path, model: Path
) -> None:
    first, second = BasisRef.of(settings.basis_dir), BasisRef.of(saved(tmp_path, model, seed=2))
    live = LiveBases(redis_client, first)
    live.write(Bases(first, also_followed=second))
    assert cancel(settings, lambda _: None) == first
    assert live.read() == Bases(first)


def test_a_basis_that_no_reader_speaks_for_is_not_live_unless_it_shall_be(
    settings: JobsSettings, redis_client: Redis, tmp_path: Path, model: Path
) -> None:
    folder, first, said = saved(tmp_path, model, seed=2), BasisRef.of(settings.basis_dir), list[str]()
    followed_by_all(redis_client, settings, folder)
    with pytest.raises(RolloutRefused, match="0 readers with enough reactions that differ, 10 are needed; --anyway"):
        roll_out(settings, folder, said.append)
    assert said[-1] == f"comparing {BasisRef.of(folder).version} with {first.version} by what readers did"
    assert LiveBases(redis_client, first).read() == Bases(first)
    followed_by_all(redis_client, settings, folder)
    assert roll_out(settings, folder, said.append, anyway=True) == BasisRef.of(folder)


def test_what_fails_while_it_catches_up_ends_the_rollout(
    settings: JobsSettings, redis_client: Redis, tmp_path: Path, model: Path
) -> None:
    publish(settings.kafka_bootstrap, reactions=1)
    folder, first = saved(tmp_path, model, seed=2), BasisRef.of(settings.basis_dir)
    live, said = LiveBases(redis_client, first), list[str]()
    followed_by_all(redis_client, settings, folder)

    def say(line: str) -> None:
        said.append(line)
        if "records left" in line:
            live.report("learner", {BasisRef.of(folder).version: "ZeroDivisionError: of nothing"})

    with pytest.raises(RolloutFailed, match="of nothing"):
        roll_out(settings, folder, say)
    assert live.read() == Bases(first)


def test_a_basis_that_nobody_follows_is_not_waited_for_long(
    settings: JobsSettings, redis_client: Redis, tmp_path: Path, model: Path
) -> None:
    hurried = settings.model_copy(update={"rollout_follow_s": 0.1})
    with pytest.raises(RolloutFailed, match="featurizer, generation, learner: do they run"):
        roll_out(hurried, saved(tmp_path, model, seed=2), lambda _: None)
    assert LiveBases(redis_client, BasisRef.of(settings.basis_dir)).read().also_followed is None


def test_what_is_in_a_followers_way_is_told(
    settings: JobsSettings, redis_client: Redis, tmp_path: Path, model: Path
) -> None:
    folder = saved(tmp_path, model, seed=2)
    live = LiveBases(redis_client, BasisRef.of(settings.basis_dir))

    def tell() -> None:
        eventually(lambda: live.read().also_followed is not None)
        live.report("learner", {BasisRef.of(folder).version: "no usable basis there"})

    threading.Thread(target=tell).start()
    with pytest.raises(RolloutFailed, match=r"learner@.* no usable basis there"):
        roll_out(settings, folder, lambda _: None)


def test_only_a_basis_of_the_models_weights_and_template_is_rolled_out(
    settings: JobsSettings, tmp_path: Path, model: Path
) -> None:
    basis_of(random_prompts(4).numpy()).save(tmp_path / "foreign")
    with pytest.raises(RolloutRefused, match="another model is a restart"):
        roll_out(settings, tmp_path / "foreign", lambda _: None)
    folder = saved(tmp_path, model, seed=2, template=Template(request="Write a poem."))
    with pytest.raises(RolloutRefused, match="template"):
        roll_out(settings, folder, lambda _: None)
    with pytest.raises(InvalidBasis, match="no usable basis"):
        roll_out(settings, tmp_path / "nothing", lambda _: None)


def test_there_is_no_way_back_from_the_first_basis(settings: JobsSettings) -> None:
    with pytest.raises(RolloutRefused, match="nothing was live before"):
        roll_back(settings, lambda _: None)


def test_who_has_another_setting_than_the_processes_rolls_nothing_out(
    settings: JobsSettings, redis_client: Redis, tmp_path: Path, model: Path
) -> None:
    second, third = (saved(tmp_path, model, seed=seed) for seed in (2, 3))
    live = LiveBases(redis_client, BasisRef.of(second))
    live.write(Bases(BasisRef.of(third), former=BasisRef.of(second)))
    with pytest.raises(RolloutRefused, match="were started with"):
        roll_out(settings, third, lambda _: None, anyway=True)
    assert live.read().live == BasisRef.of(third)


def test_there_is_one_rollout_at_a_time(settings: JobsSettings, redis_client: Redis) -> None:
    with redis_client.lock("slop:rollout", timeout=60), pytest.raises(RolloutRefused, match="another rollout"):
        roll_back(settings, lambda _: None)


def test_what_is_live_already_needs_no_rollout(settings: JobsSettings) -> None:
    said: list[str] = []
    roll_out(settings, settings.basis_dir, said.append)
    assert said == [f"{BasisRef.of(settings.basis_dir).version} is live already"]


def test_all_readers_are_learned_anew_from_the_log_while_readers_ask(
    settings: JobsSettings, running: Running, redis_client: Redis, redis_url: str
) -> None:
    old = Basis.load(settings.basis_dir)
    publish_posts(settings.kafka_bootstrap)
    eventually(running.knows_all_posts)
    publish_reactions(settings.kafka_bootstrap, 5)
    eventually(lambda: running.everybody_has(5))
    redis_client.hset(profile_key(old.version, "default", READERS[1]), "profile", b"what was damaged")
    said: list[str] = []
    with readers_asking(running.generation) as bases, Redis.from_url(redis_url.replace("/0", "/1")) as empty:
        place = relearn(settings, "", said.append)
        new = place.load()
        assert learned(redis_client, new) == relearned(settings, new, empty)
        publish_reactions(settings.kafka_bootstrap, 2)
        eventually(lambda: running.everybody_has(7))
    assert new.content_version == old.version != new.version
    assert switches(bases) == [old.version, new.version]
    assert learned(redis_client, old) == {}
    said.clear()
    assert roll_out(settings, settings.basis_dir, said.append) == place
    assert said == [f"{new.version} is live already"]


@pytest.mark.parametrize("beginning", ["", NEWEST])
def test_a_redis_that_was_emptied_is_brought_back_from_the_log_or_a_snapshot_and_the_log_after_it(
    settings: JobsSettings, running: Running, redis_client: Redis, redis_url: str, beginning: str
) -> None:
    old = Basis.load(settings.basis_dir)
    publish_posts(settings.kafka_bootstrap)
    eventually(running.knows_all_posts)
    publish_reactions(settings.kafka_bootstrap, 5)
    eventually(lambda: running.everybody_has(5))
    archive = ProfileArchive(redis_client, old.version, 1_000 * settings.seen_window_s)
    take_snapshot(archive, old.version, settings.snapshots_dir, 7, JobLimits(60, threading.Event()))
    publish_reactions(settings.kafka_bootstrap, 3)
    eventually(lambda: running.everybody_has(8))
    redis_client.flushall()
    said: list[str] = []
    new = relearn(settings, beginning, said.append).load()
    assert running.interactions() == 8
    assert any("6 profiles" in line for line in said) == bool(beginning)
    with Redis.from_url(redis_url.replace("/0", "/1")) as empty:
        assert learned(redis_client, new) == relearned(settings, new, empty)
    assert running.knows_all_posts()


def test_what_was_parked_when_the_snapshot_was_taken_is_learned_after_redis_was_emptied(
    settings: JobsSettings, running: Running, redis_client: Redis
) -> None:
    old, late = Basis.load(settings.basis_dir), Post(post_id="late", tenant="default", text=TEXTS["post-1"])
    publish_posts(settings.kafka_bootstrap)
    eventually(running.knows_all_posts)
    publish_like(settings.kafka_bootstrap, READERS[0], late.post_id)
    publish_reactions(settings.kafka_bootstrap, 3)
    eventually(lambda: running.everybody_has(3))
    archive = ProfileArchive(redis_client, old.version, 1_000 * settings.seen_window_s)
    limits, parked = JobLimits(60, threading.Event()), all_parked(redis_client)
    take_snapshot(archive, old.version, settings.snapshots_dir, 7, limits, parked=parked)
    redis_client.flushall()
    with closing(KafkaProducer(bootstrap_servers=settings.kafka_bootstrap)) as producer:
        producer.send(POSTS.name, key=key_of(late), value=encode(late)).get(timeout=30)
    relearn(settings, NEWEST, lambda _: None)
    eventually(lambda: [running.interactions(reader) for reader in READERS] == [4, 3, 3, 3, 3, 3])


def test_relearning_that_was_interrupted_goes_on_where_it_was(settings: JobsSettings, redis_client: Redis) -> None:
    publish(settings.kafka_bootstrap, reactions=1)
    hurried, first = settings.model_copy(update={"rollout_follow_s": 0.1}), BasisRef.of(settings.basis_dir)
    said: list[str] = []
    for _ in range(2):
        with pytest.raises(RolloutFailed, match="do they run"):
            relearn(hurried, "", said.append)
    (folder,) = settings.bases_dir.iterdir()
    assert f"going on with {folder.name}, which was begun before" in said
    assert LiveBases(redis_client, first).read() == Bases(first)
    redis_client.flushall()
    with pytest.raises(RolloutFailed, match="do they run"):
        relearn(hurried, "", said.append)
    assert len(list(settings.bases_dir.iterdir())) == 2


def test_relearning_is_refused_beside_a_rollout_and_without_the_snapshot_that_it_is_to_begin_with(
    settings: JobsSettings, redis_client: Redis, tmp_path: Path
) -> None:
    with redis_client.lock("slop:rollout", timeout=60), pytest.raises(RolloutRefused, match="another rollout"):
        relearn(settings, "", lambda _: None)
    with pytest.raises(RolloutRefused, match="no whole snapshot"):
        relearn(settings, NEWEST, lambda _: None)
    with pytest.raises(RolloutRefused, match="no snapshot to begin with"):
        relearn(settings, str(tmp_path / "nowhere"), lambda _: None)
