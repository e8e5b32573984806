"""Kafka, Redis and the services, all real, on free loopback ports."""

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from infra.local.ports import free_port
from infra.local.ready import http_answers
from infra.local.servers import HOST, KafkaServer, Server
from loadtests.faults.profiles import Store
from loadtests.faults.services import PYTHONPATH, Service
from slop.kafka.brokers import create_topics

INSTANCE: Final = "faults"
SESSION_MS: Final = 12_000  # longer than usual, so that a busy machine does not lose members that are alive
ENGINE_PROCESS: Final = "EngineCore"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where services find Kafka and Redis."""

    kafka: str
    redis: str


class FaultStack:
    """What `python -m infra.local.up` starts, but each process can be killed and started again.

    Attributes:
        kafka: the broker.
        redis: the server of the profiles.
        direct: where both are.
        services: by name.
        store: the profiles.
    """

    def __init__(
        self,
        folder: Path,
        kafka: KafkaServer,
        redis: tuple[Server, str],
        names: Sequence[str],
        basis: str,
        environment: dict[str, str],
        start_s: float,
    ) -> None:
        """Nothing is started yet.

        Args:
            folder: where logs go.
            kafka: a broker that is not started yet.
            redis: a Redis that is not started yet, and its URL.
            names: of the services, as in `MODULES`.
            basis: the version of the basis that is learned under.
            environment: settings of the services, besides the addresses.
            start_s: how long a service may take to answer.
        """
        self.kafka, self.redis = kafka, redis[0]
        self.direct = Addresses(kafka.bootstrap, redis[1])
        self.services: dict[str, Service] = {}
        self.store = Store(redis[1], basis)
        self._folder, self._environment, self._start_s = folder, environment, start_s
        self._ports = {name: free_port() for name in names}

    def url(self, name: str) -> str:
        """Where a service listens."""
        return f"http://{HOST}:{self._ports[name]}"

    def start_servers(self) -> None:
        """Start Redis and Kafka; raises RuntimeError if one does not answer."""
        at_once([self.redis.start, self.kafka.start])
        create_topics(self.kafka.bootstrap)

    def start_services(self, addresses: Addresses | None = None) -> None:
        """Start the services; raises RuntimeError if one does not answer.

        Args:
            addresses: where they look for Kafka and Redis; by default where these are.
        """
        at = addresses or self.direct
        ports = {f"SLOP_{name.upper()}_PORT": str(port) for name, port in self._ports.items()}
        environment = self._environment | ports | {"SLOP_KAFKA_BOOTSTRAP": at.kafka, "SLOP_REDIS_URL": at.redis}
        if "featurizer" in self._ports:
            environment["SLOP_FEATURIZER_URL"] = self.url("featurizer")
        self.services = {
            name: Service(name, port, self._folder, environment, self._start_s) for name, port in self._ports.items()
        }
        at_once([service.start for service in self.services.values()])

    def server(self, name: str) -> Server:
        """A part by its name."""
        servers: dict[str, Server] = {"kafka": self.kafka, "redis": self.redis}
        return servers[name] if name in servers else self.services[name]

    def ended(self) -> list[str]:
        """The parts that are not running, though nobody ended them: those that were ended have no process."""
        parts = {"kafka": self.kafka, "redis": self.redis, **self.services}
        return [name for name, part in parts.items() if part.process is not None and not part.running]

    def stop_services(self) -> None:
        """End the services politely."""
        at_once([service.stop for service in self.services.values()])

    def stop(self) -> None:
        """End everything."""
        self.stop_services()
        at_once([self.kafka.stop, self.redis.stop])
        self.store.close()


def environment_of(embedder: str, engine_url: str) -> dict[str, str]:
    """Settings of all services: replicas that keep their names, as in compose, so that they rejoin at once.

    Args:
        embedder: folder of the sentence embedder.
        engine_url: where the engine is, or would be.
    """
    return {
        "SLOP_HOST": HOST,
        "SLOP_EMBEDDER": embedder,
        "SLOP_VLLM_URL": engine_url,
        "SLOP_KAFKA_SESSION_TIMEOUT_MS": str(SESSION_MS),
        "SLOP_FEATURIZER_INSTANCE": INSTANCE,
        "SLOP_LEARNER_INSTANCE": INSTANCE,
    }


class VllmServer(Server):
    """vLLM's own server."""

    def __init__(self, folder: Path, url: str, timeout_s: float) -> None:
        """It is not started yet; `url` is that of its API, with /v1."""
        env = {"SLOP_VLLM_URL": url, "PYTHONPATH": PYTHONPATH}
        health = f"{url.removesuffix('/v1')}/health"
        command = [sys.executable, "-m", "infra.engine.vllm"]
        super().__init__(command, lambda: http_answers(health), folder / "vllm.log", env, timeout_s)

    @contextmanager
    def hung(self) -> Iterator[None]:
        """Have the process that computes stand still while the block lasts; its API goes on to answer."""
        process = self._core()
        os.kill(process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(process.pid, signal.SIGCONT)

    def _core(self) -> Any:
        assert self.process is not None  # noqa: S101
        for child in psutil.Process(self.process.pid).children(recursive=True):
            if ENGINE_PROCESS in f"{child.name()} {' '.join(child.cmdline())}":
                return child
        raise RuntimeError(f"vLLM has no process {ENGINE_PROCESS}")


def at_once(actions: Iterable[Callable[[], object]]) -> None:
    """Do several things at the same time; raises what the first of them raises, after all have ended."""
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(action) for action in actions]:
            done.result()
