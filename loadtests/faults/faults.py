"""The faults, and which readiness checks must report each of them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle, islice
from typing import Final

from redis import Redis

from loadtests.faults.lab import Lab
from loadtests.faults.proxies import TOXICS
from loadtests.faults.settings import NO_KAFKA, NO_TOXIPROXY, FaultSettings
from loadtests.faults.watch import NO_ANSWER

NO_ENGINE: Final = "needs vLLM: say --engine"
REDIS_AWAY: Final[Mapping[str, str]] = {"featurizer": "redis", "learner": "redis"}
KAFKA_AWAY: Final[Mapping[str, str]] = {"collector": "kafka", "featurizer": "kafka", "learner": "kafka"}
PARTS: Final[Mapping[str, Mapping[str, str]]] = {
    "featurizer": {"featurizer": NO_ANSWER},
    "learner": {"learner": NO_ANSWER},
    "generation": {"generation": NO_ANSWER},
    "collector": {"collector": NO_ANSWER},
    "redis": REDIS_AWAY,
    "kafka": KAFKA_AWAY,
}
"""What is killed in turn, and the checks that must fail meanwhile."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong for a while.

    Attributes:
        name: for the table.
        during: a context manager; the fault lasts as long as its block.
        expects: services, each with the check that must fail meanwhile.
        obstacle: why it can't be done here; empty where it can.
        drained: whether all must be learned before, because the fault loses what is not.
        proxied: whether the services have to be behind proxies.
        lasts_s: for how long it lasts at least; it also lasts until the checks have reported it.
    """

    name: str
    during: Callable[[Lab], AbstractContextManager[None]]
    expects: Mapping[str, str] = field(default_factory=dict)
    obstacle: Callable[[Lab], str] = lambda _: ""
    drained: bool = False
    proxied: bool = False
    lasts_s: float = 0.0


@contextmanager
def killed(part: str, lab: Lab) -> Iterator[None]:
    """A part is killed; starting it again begins when the block ends."""
    lab.stack.server(part).kill()
    yield
    lab.stack.server(part).launch()


@contextmanager
def redis_with(wrong: Mapping[str, str], right: Mapping[str, str], lab: Lab) -> Iterator[None]:
    """Redis is set to other values meanwhile."""
    with Redis.from_url(lab.stack.direct.redis, socket_timeout=5) as redis:
        for name, value in wrong.items():
            redis.config_set(name, value)
        yield
        for name, value in right.items():
            redis.config_set(name, value)


@contextmanager
def without_volume(lab: Lab) -> Iterator[None]:
    """Kafka comes back with an empty volume."""
    lab.replace_volume()
    yield


@contextmanager
def hung(lab: Lab) -> Iterator[None]:
    """The engine computes nothing."""
    assert lab.engine is not None  # noqa: S101
    with lab.engine.hung():
        yield


@contextmanager
def spoiled(server: str, toxic: str, lab: Lab) -> Iterator[None]:
    """The network between the services and a server has a toxic."""
    assert lab.proxies is not None  # noqa: S101
    with lab.proxies.spoiled(server, toxic):
        yield


def _needs_disk(lab: Lab) -> str:
    return "" if lab.durable else NO_KAFKA


def _needs_engine(lab: Lab) -> str:
    return "" if lab.engine else NO_ENGINE


def _needs_proxies(lab: Lab) -> str:
    if not lab.proxies:
        return NO_TOXIPROXY
    return _needs_disk(lab)


def kills(settings: FaultSettings) -> list[Fault]:
    """The parts in turn, as many as there are rounds."""
    return [
        Fault(
            f"{part} killed",
            partial(killed, part),
            expects,
            _needs_disk if part == "kafka" else lambda _: "",
            lasts_s=settings.down_s,
        )
        for part, expects in islice(cycle(PARTS.items()), settings.rounds)
    ]


def others(settings: FaultSettings) -> list[Fault]:
    """The faults that are no kill, those that need proxies last."""
    read_only = {"min-replicas-to-write": "1"}, {"min-replicas-to-write": "0"}
    full = {"maxmemory": "1mb"}, {"maxmemory": "0"}
    return [
        Fault("redis read-only", partial(redis_with, *read_only), REDIS_AWAY),
        Fault("redis full", partial(redis_with, *full), REDIS_AWAY),
        Fault("kafka's volume lost", without_volume, obstacle=_needs_disk, drained=True, lasts_s=settings.down_s),
        Fault("engine hung", hung, {"generation": "engine"}, _needs_engine),
        *(_network(server, toxic, settings) for server in ("redis", "kafka") for toxic in TOXICS),
    ]


def _network(server: str, toxic: str, settings: FaultSettings) -> Fault:
    """A fault of the network; latency need not be reported, since it only slows everything down."""
    away = {"redis": REDIS_AWAY, "kafka": KAFKA_AWAY}[server]
    expects = {} if toxic == "latency" else away
    lasts_s = 5 * settings.down_s
    during = partial(spoiled, server, toxic)
    return Fault(f"{server}: {toxic}", during, expects, _needs_proxies, proxied=True, lasts_s=lasts_s)
