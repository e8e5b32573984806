"""Whatever clients send and whatever lies in the log: no process ends, and every record is accounted for.

`POISON_EVENTS=10000` sends as many.
"""

import json
import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from kafka import KafkaProducer
from redis import Redis

from infra.local.ports import free_port
from infra.local.settings import LocalSettings
from infra.models.embedder import EMBEDDER
from loadtests.faults.services import Service
from loadtests.faults.stack import environment_of
from slop.basis import Basis
from slop.interaction_types import INTERACTION_TYPES
from slop.kafka.brokers import create_topics
from slop.kafka.topics import INTERACTIONS, POSTS, REJECTED, SIGNALS, Topic, encode
from slop.settings import DEFAULT_BASIS
from slop.v1.interaction_pb2 import Interaction, Rejected
from slop.v1.post_pb2 import Post
from slop.v1.signal_pb2 import Signal, Source
from tests.basis import random_basis
from tests.collectors import collector_server, read_all
from tests.featurizers import Polled, interaction, now_ms, parts_of
from tests.learners import wait_until
from tests.poison import events, known_posts, the_known_killer
from tests.servers import HOST, KafkaServer, redis_server, tansu_server

EVENTS = int(os.environ.get("POISON_EVENTS") or 2_500)
BATCH = 50
PATIENCE_S = 600
SEED = int(os.environ.get("POISON_SEED") or random.randrange(2**32))
UNHURRIED = settings(
    database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck), derandomize=False
)


@dataclass
class Loop:
    """A collector, a featurizer and a learner on a log and a store of their own."""

    basis: Basis
    collector_url: str
    kafka: KafkaServer
    featurizer: Service
    learner: Service
    counted: tuple[Counter[str], ...] = ()

    def has_done_all(self) -> bool:
        """Whether something has become of every record; no process may have ended."""
        assert self.featurizer.running, self.featurizer.log.read_text()[-4_000:]
        assert self.learner.running, self.learner.log.read_text()[-4_000:]
        counts, before = (self.interactions(), self.signals()), self.counted
        self.counted = counts
        if counts != before:  # the log is read, which takes seconds, only when nothing comes any more
            return False
        return [sum(one.values()) for one in counts] == [len(self.records(topic)) for topic in (INTERACTIONS, SIGNALS)]

    def refused(self) -> list[Rejected]:
        """What services have rejected of the log, without what clients sent and was not valid."""
        records = [Rejected.FromString(record.value) for record in self.records(REJECTED)]
        return [record for record in records if record.HasField("source_offset")]

    def counts(self, service: Service, metric: str) -> Counter[str]:
        """Of a counter with the one label `outcome`."""
        lines = httpx.get(f"{service.url}/metrics", timeout=30).text.splitlines()
        found = Counter[str]()
        for line in lines:
            if line.startswith(f'{metric}{{outcome="'):
                labels, value = line.rsplit(" ", 1)
                found[labels.split('"')[1]] = round(float(value))
        return found

    def interactions(self) -> Counter[str]:
        """What became of interactions."""
        return self.counts(self.featurizer, "slop_featurizer_interactions_total")

    def signals(self) -> Counter[str]:
        """What became of signals."""
        return self.counts(self.learner, "slop_learner_signals_total")

    def records(self, topic: Topic) -> list[Any]:
        """All there is in the log."""
        return read_all(self.kafka.bootstrap, topic)

    def send(self, path: str, items: Sequence[dict[str, Any]]) -> Counter[str]:
        """Send items; returns how many were accepted and rejected. Too many bytes are sent in two requests."""
        body = json.dumps({path.rsplit("/", 1)[1]: items})  # which writes lone surrogates as escapes
        answer = httpx.post(f"{self.collector_url}{path}", content=body, headers=JSON, timeout=60)
        if answer.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE and len(items) > 1:
            half = len(items) // 2
            return self.send(path, items[:half]) + self.send(path, items[half:])
        assert answer.status_code in {httpx.codes.ACCEPTED, httpx.codes.UNPROCESSABLE_ENTITY}, answer.text
        return Counter(result["status"] for result in answer.json()["results"])


JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    folder = tmp_path_factory.mktemp("poison")
    kafka, (redis, redis_url) = tansu_server(folder), redis_server(folder)
    collector, collector_url = collector_server(folder, kafka.bootstrap, collector_ack_timeout_s=30)
    ports = {name: free_port() for name in ("featurizer", "learner")}
    environment = {
        **environment_of(EMBEDDER.prepare(LocalSettings()), f"http://{HOST}:1/v1"),
        **{f"SLOP_{name.upper()}_PORT": str(port) for name, port in ports.items()},
        "SLOP_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "SLOP_REDIS_URL": redis_url,
    }
    featurizer, learner = (Service(name, port, folder, environment, PATIENCE_S) for name, port in ports.items())
    with ExitStack() as at_end:
        for server in (kafka, redis, collector, featurizer, learner):
            at_end.callback(server.stop)
            server.start()
        yield Loop(Basis.load(DEFAULT_BASIS), collector_url, kafka, featurizer, learner)


def a_lot_of_events() -> list[list[dict[str, Any]]]:
    """Requests with EVENTS events and some more, since not all are valid."""
    requests: list[list[dict[str, Any]]] = []

    @seed(SEED)
    @settings(UNHURRIED, max_examples=round(1.3 * EVENTS / BATCH))
    @given(st.lists(events(), min_size=BATCH, max_size=BATCH))
    def collect(request: list[dict[str, Any]]) -> None:
        requests.append(request)

    collect()
    return requests


def test_thousands_of_accepted_events_of_every_kind_are_all_accounted_for(loop: Loop) -> None:
    print(f"POISON_SEED={SEED}")
    assert loop.send("/v1/posts", known_posts())["rejected"] == 0
    killers = the_known_killer()
    accepted = loop.send("/v1/events", [*killers, *killers])["accepted"]
    for request in a_lot_of_events():
        accepted += loop.send("/v1/events", request)["accepted"]
    assert accepted >= EVENTS

    wait_until(loop.has_done_all, timeout_s=PATIENCE_S, every_s=2)
    read = [Interaction.FromString(record.value) for record in loop.records(INTERACTIONS)]
    first = [interaction for interaction in read if not interaction.redeliveries]
    assert len(first) == accepted
    assert {interaction.type for interaction in first} == {kind.number for kind in INTERACTION_TYPES.values()}

    outcomes, signals, rejected = loop.interactions(), loop.signals(), loop.refused()
    assert outcomes["signal"] == len(loop.records(SIGNALS)) == signals.total()
    assert outcomes["rejected"] == len(rejected) == 0, rejected[:3]
    assert signals["refused"] == signals["other_basis"] == signals["applied_before"] == 0
    for outcome in ("silent", "parked", "signal"):
        assert outcomes[outcome] > 0
    for outcome in ("learned", "retried", "superseded"):
        assert signals[outcome] > 0


def garbage(basis: Basis) -> dict[str, list[bytes | None]]:
    """Records that nobody should have written, by the topic's name."""
    rng = random.Random(SEED)
    noise = [rng.randbytes(size) for size in (1, 7, 100, 10_000)]
    broken: list[bytes | None] = [*noise, b"\xff" * 20, b"\x0a\xff\xff\xff\xff\x0f", None]
    nan, inf = float("nan"), float("inf")
    strange = [
        Interaction(),
        Interaction(event_id="e", tenant="default", user_id="ann", post_id="p0", type=99),  # type: ignore[arg-type]
        *(interaction("p0", 2, value=value) for value in (nan, inf, -inf, -1.0, 1e308, 5e-324)),
        *(interaction("p0", 12, value=value) for value in (nan, inf, 1e308, -7.0)),
        interaction("p0", received_at_ms=2**63 - 1),
        interaction("p0", received_at_ms=-(2**63)),
        interaction("p0", occurred_at_ms=-(2**63)),
        interaction("p0", redeliveries=2**32 - 1),
        interaction("", user_id=""),
        interaction("p0", context_json="{" * 1_000),
        interaction("new", post_text=""),
        interaction("huge", post_text="a" * 700_000),
    ]

    def signal(**members: Any) -> Signal:
        usual = {
            "event_id": uuid4().hex,
            "tenant": "default",
            "user_id": f"garbage-{uuid4().hex}",
            "basis": basis.version,
            "source": Source(partition=0, offset=2**40),
            "received_at_ms": now_ms(),
            "features": [0.1] * basis.feature_count,
            "label": 1.0,
            "weight": 1.0,
        }
        return Signal(**{name: value for name, value in (usual | members).items() if value is not None})

    bad = [nan, inf, -inf, 3e38]
    signals = [
        *(signal(features=[value] + [0.1] * (basis.feature_count - 1)) for value in bad),
        *(signal(label=value) for value in (*bad, -1.0, 2.0)),
        *(signal(weight=value) for value in (*bad, -1.0)),
        signal(features=[]),
        signal(features=[0.1] * (basis.feature_count + 1)),
        signal(features=[0.1] * 100_000),
        signal(source=None),
    ]
    posts = [Post(), Post(post_id="p", tenant="default"), Post(post_id="p", tenant="default", text="a" * 700_000)]
    return {
        INTERACTIONS.name: [*broken, *map(encode, strange)],
        POSTS.name: [*broken[:-1], *map(encode, posts)],  # without a value a post is deleted, which is its right
        SIGNALS.name: [*broken, *map(encode, signals)],
    }


def test_garbage_in_the_log_is_rejected_with_its_reason_and_all_goes_on(loop: Loop) -> None:
    create_topics(loop.kafka.bootstrap)
    written: dict[str, int] = {}
    with closing(KafkaProducer(bootstrap_servers=loop.kafka.bootstrap, max_request_size=2**21)) as producer:
        for topic, values in garbage(loop.basis).items():
            for value in values:
                producer.send(topic, key=b"default/ann", value=value)
            written[topic] = len(values)
        producer.flush()
    marker = {"event_id": uuid4().hex, "user_id": uuid4().hex, "post_id": "p16", "type": "like"}
    before = loop.signals()["learned"]
    loop.send("/v1/events", [marker])
    wait_until(lambda: loop.signals()["learned"] > before, timeout_s=PATIENCE_S, every_s=1)

    wait_until(loop.has_done_all, timeout_s=PATIENCE_S, every_s=2)
    rejected = loop.refused()
    assert all(record.reason and record.service for record in rejected)
    by_topic = Counter(record.source_topic for record in rejected)
    # Ratings beyond what the collector takes become signals that the learner refuses, besides those written here.
    assert by_topic[SIGNALS.name] == loop.signals()["refused"] >= written[SIGNALS.name]
    assert by_topic[INTERACTIONS.name] == loop.interactions()["rejected"] > 0
    assert by_topic[POSTS.name] > 0
    readiness = [service.readiness() for service in (loop.featurizer, loop.learner)]
    assert all(one.ready for one in readiness), readiness


_EVERY_RECORD = st.none() | st.binary(max_size=60) | events().map(lambda event: encode(_as_record(event)))


def _as_record(event: dict[str, Any]) -> Interaction:
    """An event as the collector would publish it, and some that it would not."""
    value = event.get("value")
    return Interaction(
        event_id=event["event_id"].encode("utf-8", "replace").decode(),
        tenant="default",
        user_id=event["user_id"].encode("utf-8", "replace").decode(),
        post_id=event["post_id"].encode("utf-8", "replace").decode(),
        type=INTERACTION_TYPES[event["type"]].number,
        value=None if value is None else float(value),
        received_at_ms=now_ms(),
        post_text=event["post"]["text"] if "post" in event else None,
    )


@seed(SEED)
@settings(UNHURRIED, max_examples=60)
@given(values=st.lists(_EVERY_RECORD, min_size=1, max_size=8))
def test_of_any_batch_every_record_has_one_outcome(values: list[bytes | None], poisoned: Redis) -> None:
    with parts_of(poisoned, random_basis()) as parts:
        parts.publish(p0="a", p1=" ", p2="The soup was better on the second day.")
        records = [Polled(value, offset) for offset, value in enumerate(values)]
        enriched = parts.enricher().enrich(records, epoch=1)
        outcomes = len(enriched.signals) + len(enriched.rejected) + enriched.unsignalled.total()
    assert outcomes == len(values)
    assert all(record.reason != "failed" for record in enriched.rejected), enriched.rejected


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    server, url = redis_server(tmp_path_factory.mktemp("redis"))
    server.start()
    with Redis.from_url(url, socket_timeout=30) as client:
        yield client
    server.stop()
