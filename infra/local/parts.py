"""The parts of the stack: the lines of the Procfile, with where each listens and how to tell that it is ready."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from infra.local.ready import http_answers, kafka_answers, redis_answers
from infra.local.settings import LOOPBACK, LocalSettings


@dataclass(frozen=True, slots=True)
class Part:
    """A process of the stack.

    Attributes:
        name: as in the Procfile.
        setting: what moves it to another port, with an example.
        url: for people.
        answers: whether it is ready.
        about: what its URL is good for.
    """

    name: str
    host: str
    port: int
    setting: str
    url: str
    answers: Callable[[], bool]
    about: str

    @property
    def is_here(self) -> bool:
        """Whether it is for us to start."""
        return self.host in LOOPBACK


def parts(settings: LocalSettings) -> list[Part]:
    """All parts, in the order of the Procfile."""
    return [_redis(settings), _kafka(settings), _vllm(settings), *_services(settings)]


def _redis(settings: LocalSettings) -> Part:
    host, port = settings.redis_address
    setting = f"SLOP_REDIS_URL=redis://{host}:{port + 1}/0"
    return Part("redis", host, port, setting, settings.redis_url, partial(redis_answers, host, port), "profiles")


def _kafka(settings: LocalSettings) -> Part:
    host, port = settings.kafka_address
    setting = f"SLOP_KAFKA_BOOTSTRAP={host}:{port + 10}"
    return Part("kafka", host, port, setting, f"{host}:{port}", partial(kafka_answers, host, port), "the log")


def _vllm(settings: LocalSettings) -> Part:
    host, port = settings.vllm_address
    setting = f"SLOP_VLLM_URL=http://{host}:{port + 10}/v1"
    answers = partial(http_answers, f"http://{host}:{port}/health")
    return Part("vllm", host, port, setting, settings.engine_url, answers, "OpenAI's API, for us alone")


def _services(settings: LocalSettings) -> list[Part]:
    collector = "/docs", "send interactions and posts"
    generation = "/docs", "ask for posts, ranks, profiles"
    return [
        _service("collector", settings.host, settings.collector_port, *collector),
        _service("featurizer", settings.host, settings.featurizer_port, "/metrics", "posts become features"),
        _service("learner", settings.host, settings.learner_port, "/metrics", "signals become profiles"),
        _service("generation", settings.host, settings.generation_port, *generation),
        _service("worker", settings.host, settings.worker_port, "/metrics", "jobs: snapshots, a census, bases"),
        _service("beat", settings.host, settings.beat_port, "/readyz", "sends the jobs that are due"),
    ]


def _service(name: str, host: str, port: int, path: str, about: str) -> Part:
    base = f"http://{host}:{port}"
    setting = f"SLOP_{name.upper()}_PORT={port + 10}"
    return Part(name, host, port, setting, base + path, partial(http_answers, base + "/readyz"), about)
