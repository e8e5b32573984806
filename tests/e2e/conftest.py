"""The real engine with the default model, started once, and a generation service in front of it."""

import os
from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from native import model, vllm
from native.ports import free_port
from native.ready import http_answers
from native.settings import NativeSettings
from slop.basis import Basis, Template
from tests.basis import SUBJECTS, basis_of
from tests.generations import client_of, generation_server
from tests.integration.conftest import kafka_bootstrap, redis_client, redis_url
from tests.servers import HOST, Server
from trainer.language_model import LanguageModel

__all__ = ["kafka_bootstrap", "redis_client", "redis_url"]

ROWS = 13


@pytest.fixture(scope="session")
def model_path() -> str:
    return model.prepare(NativeSettings())


@pytest.fixture(scope="session")
def vllm_url(model_path: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The engine's API; `TEST_VLLM_URL` names one that runs already, since starting one takes a while."""
    if running := os.environ.get("TEST_VLLM_URL"):
        yield running
        return
    settings = NativeSettings(vllm_url=f"http://{HOST}:{free_port()}/v1", vllm_args="--enforce-eager")
    server = Server(
        vllm.command(settings, model_path),
        lambda: http_answers(f"{settings.vllm_url}/models"),
        tmp_path_factory.mktemp("vllm") / "vllm.log",
        vllm.environment(model_path, os.sched_getaffinity(0)),
        timeout_s=600,
    )
    server.start()
    yield settings.vllm_url
    server.stop()


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
    )
    server.start()
    with client_of(url) as client:
        yield client
    server.stop()
