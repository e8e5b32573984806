"""The load test and the smoke command on real services, with no engine behind generation."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from infra.local.ports import free_port
from slop.kafka.topics import INTERACTIONS
from slop.v1.interaction_pb2 import Interaction
from tests.basis import basis_of
from tests.collectors import collector_server, read_all, running
from tests.generations import generation_server

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 300


@pytest.fixture(scope="module")
def tenant() -> str:
    return f"load-{uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def stack(
    kafka_bootstrap: str, redis_url: str, tenant: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """The environment that names a collector and a generation service whose engine is away."""
    folder = tmp_path_factory.mktemp("stack")
    collector, collector_url = collector_server(folder, kafka_bootstrap, tenant=tenant)
    basis = basis_of(np.ones((2, 2, 4), np.float32), ["plants", "goals"])
    generation, generation_url = generation_server(
        folder, basis, redis_url=redis_url, kafka_bootstrap=kafka_bootstrap, tenant=tenant
    )
    with running(collector), running(generation):
        yield {"SLOP_COLLECTOR_URL": collector_url, "SLOP_GENERATION_URL": generation_url}


def command(module: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    away = {f"SLOP_{name}_PORT": str(free_port()) for name in ("COLLECTOR", "GENERATION", "LEARNER", "GRAFANA")}
    return subprocess.run(
        [sys.executable, "-m", f"loadtests.{module}"],
        cwd=ROOT,
        env=os.environ | away | environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def loaded(stack: dict[str, str], folder: Path, **environment: str) -> tuple[int, dict[str, Any]]:
    out = folder / "figures.json"
    done = command("run", stack | environment | {"SECONDS": "5", "READERS": "2", "OUT": str(out)})
    assert out.exists(), done.stdout + done.stderr
    return done.returncode, json.loads(out.read_text())


def test_every_interaction_that_ingestion_sends_is_in_the_log_and_reacts_to_a_post(
    stack: dict[str, str], kafka_bootstrap: str, tenant: str, tmp_path: Path
) -> None:
    status, figures = loaded(stack, tmp_path, SCENARIO="ingestion", SLOP_LOAD_BATCH="50")
    (call,) = figures["calls"]
    assert (status, figures["failures"], call["name"]) == (0, 0, "POST /v1/events")
    records = read_all(kafka_bootstrap, INTERACTIONS)
    sent = [i for i in (Interaction.FromString(record.value or b"") for record in records) if i.tenant == tenant]
    assert len({interaction.event_id for interaction in sent}) == len(sent) == 50 * call["requests"]
    assert figures["work"]["accepted"] == len(sent)
    assert len({interaction.user_id for interaction in sent}) > len(sent) / 20


def test_readers_whose_engine_is_away_are_refused_and_that_is_no_failure(stack: dict[str, str], tmp_path: Path) -> None:
    _, figures = loaded(stack, tmp_path, SCENARIO="readers", SLOP_LOAD_SPEED="50")
    generate = next(call for call in figures["calls"] if call["name"] == "POST /v1/generate")
    assert figures["failures"] == 0
    assert generate["refusals"] == {"503": generate["requests"]}


def test_a_load_test_of_nothing_says_so_and_fails() -> None:
    done = command("run", {})
    assert done.returncode == 1
    assert "is the stack up?" in done.stdout


def test_a_load_test_of_another_machine_is_refused() -> None:
    done = command("run", {"SLOP_COLLECTOR_URL": "http://192.0.2.1:8001"})
    assert done.returncode == 1
    assert "SLOP_LOAD_ALLOW_REMOTE=true" in done.stdout


def test_the_smoke_command_tells_what_works_from_what_does_not(stack: dict[str, str]) -> None:
    done = command("smoke", stack | {"SLOP_SMOKE_TIMEOUT_S": "3"})
    verdicts = {line[2:40].strip(): line[0] for line in done.stdout.splitlines() if line[0] in "✓✗-"}
    assert done.returncode == 1
    assert verdicts["the collector is ready"] == "✓"
    assert verdicts["a bad event is refused, and told why"] == "✓"
    assert verdicts["metrics are served"] == "✓"
    assert verdicts["generation is ready"] == "✗"
    assert verdicts["the reader gets a personal post"] == "-"
    assert verdicts["Grafana has the dashboards"] == "-"


def test_locust_loads_the_locustfile_from_the_root(stack: dict[str, str]) -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--list"],
        cwd=ROOT,
        env=os.environ | stack,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    assert listed.stdout.split()[-2:] == ["Ingestion", "Reading"]
