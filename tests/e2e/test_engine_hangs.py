"""The real engine hangs: its core is stopped with SIGSTOP, while its API goes on answering."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psutil
import pytest

from infra.local.up import LocalStack
from tests.generations import client_of
from tests.waiting import eventually

CORE = "EngineCore"
ASKED = {"user_id": "ada", "max_tokens": 4}


@pytest.fixture
def service(stack: LocalStack) -> Iterator[httpx.Client]:
    """The stack's own generation service, with the settings that it has by default."""
    with client_of(stack.generation_url) as client:
        eventually(lambda: client.get("/readyz").status_code == 200)
        yield client


@contextmanager
def stopped_core(stack: LocalStack) -> Iterator[None]:
    """vLLM's core hangs until the block ends."""
    assert stack.process is not None
    (core,) = [one for one in psutil.Process(stack.process.pid).children(recursive=True) if is_core(one)]
    core.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        core.send_signal(signal.SIGCONT)


def is_core(process: psutil.Process) -> bool:
    """Whether it is the process that computes; vLLM gives it a title."""
    return CORE in " ".join(process.cmdline())


def test_an_engine_whose_core_hangs_is_not_ready_and_is_ready_by_itself_when_it_goes_on(
    stack: LocalStack, service: httpx.Client
) -> None:
    assert service.post("/v1/generate", json=ASKED).status_code == 200
    with stopped_core(stack):
        eventually(lambda: service.get("/readyz").json()["checks"]["engine"].startswith("NoToken"))
        assert service.get("/readyz").status_code == 503
        assert httpx.get(f"{stack.vllm_url}/models", timeout=10).status_code == 200
        refused = service.post("/v1/generate", json=ASKED)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
    eventually(lambda: service.get("/readyz").status_code == 200)
    assert service.post("/v1/generate", json=ASKED).status_code == 200
