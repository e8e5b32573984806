"""The whole stack with the real engine, started once; a generation service of the tests' own, and a Prometheus."""

import os
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import numpy as np
import pytest
from rich.console import Console

from infra.local.ports import free_port
from infra.local.settings import LocalSettings
from infra.local.up import LocalStack, running_stack
from infra.models.model import BASE_MODEL
from slop.basis import Basis, Template
from tests.basis import SUBJECTS, basis_of
from tests.generations import client_of, generation_server
from tests.integration.conftest import kafka_bootstrap, redis_client, redis_url
from tests.monitoring import Prometheus, prometheus_server, redis_exporter_server
from tests.servers import HOST
from training.language_model import LanguageModel

__all__ = ["kafka_bootstrap", "redis_client", "redis_url"]

ROWS = 13
# The engine writes some 30 tokens a second on two cores, which the tests share with it.
SHORT = {
    "SLOP_GENERATION_MAX_TOKENS": "16",
    "SLOP_GENERATION_CHAT_MAX_TOKENS": "32",
    "SLOP_PREGENERATION_POST_TOKENS": "8",
    "SLOP_PREGENERATION_POSTS": "2",
    "SLOP_PREGENERATION_TOKENS_PER_S": "4",
}


@pytest.fixture(scope="session")
def model_path() -> str:
    return BASE_MODEL.prepare(LocalSettings())


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """The processes that `make up` starts, each on a free port."""
    with ExitStack() as until_the_end:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("KAFKA_HOME", "OMP_NUM_THREADS"):
                patch.delenv(name, raising=False)
            for name in ("COLLECTOR", "GENERATION", "FEATURIZER", "LEARNER", "WORKER", "BEAT"):
                patch.setenv(f"SLOP_{name}_PORT", str(free_port()))
            patch.setenv("SLOP_REDIS_URL", f"redis://{HOST}:{free_port()}/0")
            patch.setenv("SLOP_KAFKA_BOOTSTRAP", f"{HOST}:{free_port()}")
            patch.setenv("SLOP_VLLM_URL", f"http://{HOST}:{free_port()}/v1")
            for name, value in SHORT.items():
                patch.setenv(name, value)
            patch.setenv("SLOP_RUN_DIR", str(tmp_path_factory.mktemp("run")))
            running = until_the_end.enter_context(running_stack(Console(quiet=True)))
        yield running


@pytest.fixture(scope="session")
def prometheus(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that watches the stack."""
    folder = tmp_path_factory.mktemp("prometheus")
    exporter, address = redis_exporter_server(folder, stack.settings.redis_url)
    server, url = prometheus_server(folder, stack.settings, address)
    with ExitStack() as until_the_end:
        for each in (exporter, server):
            until_the_end.callback(each.stop)
            each.start()
        yield until_the_end.enter_context(Prometheus(url))


@pytest.fixture(scope="session")
def vllm_url(request: pytest.FixtureRequest) -> str:
    """The engine's API: the stack's, or the one that `TEST_VLLM_URL` names, since starting one takes a while."""
    if running := os.environ.get("TEST_VLLM_URL"):
        return running
    stack: LocalStack = request.getfixturevalue("stack")
    return stack.vllm_url


@pytest.fixture(scope="session")
def language_model(model_path: str) -> LanguageModel:
    return LanguageModel.load(model_path, Template(), device="cpu")


@pytest.fixture(scope="session")
def basis(language_model: LanguageModel) -> Basis:
    """Prompts of words: what a basis is before its training."""
    texts = [f"You write short posts for a social feed about {subject}" for subject in SUBJECTS]
    return basis_of(np.stack([language_model.embed_words(text, ROWS).numpy() for text in texts]))


@pytest.fixture(scope="session")
def service(
    basis: Basis, vllm_url: str, redis_url: str, kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    server, url = generation_server(
        tmp_path_factory.mktemp("generation"),
        basis,
        vllm_url=vllm_url,
        redis_url=redis_url,
        kafka_bootstrap=kafka_bootstrap,
        engine_timeout_s=300,
        engine_silent_s=60,
        generation_deadline_s=300,
    )
    server.start()
    with client_of(url) as client:
        yield client
    server.stop()
