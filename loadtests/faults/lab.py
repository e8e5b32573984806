"""The stack that faults happen to, a calm one beside it, and the copying of the log from the former to the latter."""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

import httpx
from kafka import KafkaProducer

from infra.local.kafka import Proxied
from infra.local.ports import free_port
from infra.local.servers import HOST, ApacheKafka, KafkaServer, apache_kafka_home, redis_server, tansu_server
from infra.local.settings import LocalSettings
from infra.models.embedder import EMBEDDER
from loadtests.faults.load import TIMEOUT_S
from loadtests.faults.mirror import Mirror
from loadtests.faults.proxies import Proxies
from loadtests.faults.services import MODULES
from loadtests.faults.settings import FaultSettings, toxiproxy
from loadtests.faults.stack import Addresses, FaultStack, VllmServer, at_once, environment_of
from loadtests.faults.watch import until
from slop.kafka.brokers import create_topics
from slop.kafka.topics import POSTS, encode, key_of
from slop.rollout.live import BasisRef
from slop.v1.post_pb2 import Post
from training import CATALOGUE

KNOWN: Final = 12
TENANT: Final = "default"
FEATURES: Final = "slop_featurizer_posts_total"


class Lab:
    """Everything that the fault suite runs.

    Attributes:
        settings: how.
        stack: the one that faults happen to.
        calm: a featurizer and a learner with a Redis of their own, on a copy of the log.
        engine: vLLM, where it was asked for.
        proxies: in front of Kafka and Redis, where there is toxiproxy.
        proxied: the addresses of these proxies.
        posts: ids of the posts that are known from the start.
        durable: whether the log outlives its broker.
    """

    def __init__(self, settings: FaultSettings, folder: Path, late: int) -> None:
        """Nothing is started yet.

        Args:
            settings: the options.
            folder: where all data and logs go.
            late: how many posts there are that become known late.
        """
        self.settings, self._folder = settings, folder
        for name in ("stack", "calm"):
            (folder / name).mkdir(parents=True)
        basis = BasisRef.of(LocalSettings().basis_dir).version
        engine_url = f"http://{HOST}:{free_port()}/v1"
        environment = environment_of(EMBEDDER.prepare(LocalSettings()), engine_url)
        binary = toxiproxy()
        self.proxies = Proxies(binary, folder) if binary else None
        self.proxied = Addresses(f"{HOST}:{free_port()}", f"redis://{HOST}:{free_port()}/0")
        self._kafka_behind = Proxied(free_port(), _port(self.proxied.kafka))
        kafka, self.durable = self._broker(folder / "stack")
        redis = redis_server(folder / "stack", folder / "stack" / "redis")
        self.stack = FaultStack(folder / "stack", kafka, redis, list(MODULES), basis, environment, settings.start_s)
        calm = tansu_server(folder / "calm"), redis_server(folder / "calm"), ["featurizer", "learner"]
        self.calm = FaultStack(folder / "calm", *calm, basis, environment, settings.start_s)
        self.engine = VllmServer(folder, engine_url, settings.start_s) if settings.engine else None
        self.mirror = Mirror(kafka.bootstrap, calm[0].bootstrap)
        texts = [json.loads(line)["text"] for line in CATALOGUE.read_text().splitlines()[: KNOWN + late]]
        self._texts = {f"known-{number}": text for number, text in enumerate(texts[:KNOWN])}
        self._late = {late_post(number): text for number, text in enumerate(texts[KNOWN:])}
        self.posts = list(self._texts)

    def _broker(self, folder: Path) -> tuple[KafkaServer, bool]:
        home = apache_kafka_home()
        if home is None:
            return tansu_server(folder), False
        return ApacheKafka(home, folder, self._kafka_behind), True

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start everything, make the posts known, and end everything when the block ends.

        Raises:
            RuntimeError: something does not answer.
        """
        with ExitStack() as at_end:
            servers = [self.stack.start_servers, self.calm.start_servers]
            if self.engine:
                at_end.callback(self.engine.stop)
                servers.append(self.engine.start)
            if self.proxies:
                at_end.callback(self.proxies.server.stop)
                servers.append(self.proxies.server.start)
            at_end.callback(self.stack.stop)
            at_end.callback(self.calm.stop)
            at_once(servers)
            at_once([self.stack.start_services, self.calm.start_services])
            self._tell_calm()
            at_end.callback(self.mirror.stop)
            self.mirror.start()
            self.register(self._texts)
            yield

    def _tell_calm(self) -> None:
        """Publish all posts, late ones too, to the calm stack, and wait for their features: nothing is parked there.

        Raises:
            TimeoutError: it takes too long.
        """
        texts, now_ms = self._texts | self._late, time.time_ns() // 1_000_000
        posts = [Post(post_id=name, tenant=TENANT, text=text, created_at_ms=now_ms) for name, text in texts.items()]
        with closing(KafkaProducer(bootstrap_servers=self.calm.kafka.bootstrap)) as producer:
            for post in posts:
                producer.send(POSTS.name, key=key_of(post), value=encode(post))
            producer.flush()
        featurizer = self.calm.services["featurizer"]
        if until(lambda: featurizer.total(FEATURES) >= len(posts), self.settings.start_s) is None:
            raise TimeoutError(
                f"features of {featurizer.total(FEATURES):.0f} of {len(posts)} posts; see {featurizer.log}"
            )

    def register(self, texts: dict[str, str]) -> None:
        """Register posts by the collector, as soon as it takes them.

        Raises:
            TimeoutError: it takes them not in time.
        """
        body = {"posts": [{"post_id": name, "text": text} for name, text in texts.items()]}
        url = f"{self.stack.url('collector')}/v1/posts"

        def taken() -> bool:
            try:
                return (
                    httpx.post(url, json=body, timeout=TIMEOUT_S, trust_env=False).status_code == httpx.codes.ACCEPTED
                )
            except httpx.TransportError:
                return False

        if until(taken, self.settings.recover_s) is None:
            raise TimeoutError("the collector takes no posts")

    def register_late(self, number: int) -> None:
        """Make a late post known; raises as `register` does."""
        name = late_post(number)
        self.register({name: self._late[name]})

    def use_proxies(self) -> None:
        """Start the services again, behind proxies; raises RuntimeError if they do not answer."""
        assert self.proxies is not None  # noqa: S101
        self.proxies.add("kafka", _port(self.proxied.kafka), self._kafka_behind.listen)
        self.proxies.add("redis", _port(self.proxied.redis), _port(self.stack.direct.redis))
        self.stack.stop_services()
        self.stack.start_services(self.proxied)

    def replace_volume(self) -> None:
        """Lose Kafka's volume, in both stacks; everything must have been learned before.

        Raises:
            RuntimeError: a broker does not answer again.
        """
        kafka = self.stack.kafka
        assert isinstance(kafka, ApacheKafka)  # noqa: S101
        self.mirror.stop()
        for server in (kafka, self.calm.kafka):
            server.kill()
        kafka.replace_volume()
        for server in (kafka, self.calm.kafka):
            server.start()
            create_topics(server.bootstrap)
        self.mirror.begin_anew()
        self.mirror.start()


def late_post(number: int) -> str:
    """The id of a post that becomes known late."""
    return f"late-{number}"


def fresh(folder: Path) -> Path:
    """An empty folder in place of what was there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _port(address: str) -> int:
    """Of `host:port`, with or without what is around it."""
    return int(address.removesuffix("/0").rsplit(":", 1)[1])
