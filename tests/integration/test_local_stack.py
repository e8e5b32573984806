"""Starting and stopping parts of the stack together, with Redis and Tansu alone."""

import os
import signal
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import psutil
import pytest
from redis import Redis
from rich.console import Console

from infra.local.parts import Part, parts
from infra.local.ports import free_port, is_open
from infra.local.settings import ROOT, LocalSettings
from infra.local.starting import StackFailed, started
from tests.servers import HOST


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalSettings:
    monkeypatch.delenv("KAFKA_HOME", raising=False)
    monkeypatch.setenv("SLOP_REDIS_URL", f"redis://{HOST}:{free_port()}/0")
    monkeypatch.setenv("SLOP_KAFKA_BOOTSTRAP", f"{HOST}:{free_port()}")
    monkeypatch.setenv("SLOP_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    return LocalSettings(_env_file=None)


@pytest.fixture
def servers(settings: LocalSettings) -> list[Part]:
    return [part for part in parts(settings) if part.name in {"redis", "kafka"}]


@pytest.fixture
def console() -> Console:
    return Console(file=StringIO(), width=200)


@pytest.fixture
def before() -> set[int]:
    """The descendants that this process had before the test."""
    return {child.pid for child in psutil.Process().children(recursive=True)}


def _wait_until_free(some: list[Part], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while any(is_open(part.host, part.port) for part in some):
        assert time.monotonic() < deadline, "something still listens"
        time.sleep(0.05)


def test_what_was_started_answers_and_nothing_is_left_afterwards(
    settings: LocalSettings, servers: list[Part], console: Console, before: set[int]
) -> None:
    with started(servers, settings, console, {}):
        assert all(part.answers() for part in servers)
        assert (settings.run_dir / "logs" / "kafka.log").read_text().startswith("Tansu")
    assert not any(is_open(part.host, part.port) for part in servers)
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


def test_each_part_is_announced_when_it_is_ready(
    settings: LocalSettings, servers: list[Part], console: Console
) -> None:
    with started(servers, settings, console, {}):
        assert isinstance(console.file, StringIO)
        lines = console.file.getvalue().splitlines()
    assert {line.split(" ready after ")[0].strip() for line in lines} == {"redis", "kafka"}


def test_a_part_that_never_answers_fails_the_start(
    settings: LocalSettings, servers: list[Part], console: Console
) -> None:
    impatient = settings.model_copy(update={"start_timeout_s": 1.0})
    redis, kafka = servers
    deaf = Part(kafka.name, kafka.host, kafka.port, kafka.setting, kafka.url, lambda: False, kafka.about)
    with (
        pytest.raises(StackFailed, match="kafka is not ready"),
        started([redis, deaf], impatient, console, {}),
    ):
        pytest.fail("a stack with a part that does not answer was called ready")
    assert not any(is_open(part.host, part.port) for part in servers)


def test_a_part_that_dies_while_starting_is_named_with_its_last_lines(
    settings: LocalSettings, servers: list[Part], console: Console
) -> None:
    no_kafka = {"KAFKA_HOME": "/there/is/no/kafka"}
    with (
        pytest.raises(StackFailed, match=r"kafka ended with 1(?s:.*)KAFKA_HOME=/there/is/no/kafka has no bin"),
        started(servers, settings, console, no_kafka),
    ):
        pytest.fail("a stack without a broker was called ready")
    assert not any(is_open(part.host, part.port) for part in servers)


def test_when_one_part_dies_the_rest_is_stopped(settings: LocalSettings, servers: list[Part], console: Console) -> None:
    redis_port = settings.redis_address[1]
    with started(servers, settings, console, {}) as process:
        with Redis(host=HOST, port=redis_port) as client:
            os.kill(int(client.info("server")["process_id"]), signal.SIGKILL)
        assert process.wait(timeout=20) is not None
        assert not any(is_open(part.host, part.port) for part in servers)


def test_the_worker_and_beat_need_redis_alone(
    settings: LocalSettings, console: Console, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SLOP_WORKER_PORT", str(free_port()))
    monkeypatch.setenv("SLOP_BEAT_PORT", str(free_port()))
    some = [part for part in parts(LocalSettings(_env_file=None)) if part.name in {"redis", "worker", "beat"}]
    with started(some, settings, console, {"SLOP_JOBS_DIR": str(tmp_path / "jobs")}):
        assert all(part.answers() for part in some)
    _wait_until_free(some)
    assert (tmp_path / "jobs").is_dir()


def test_nothing_outlives_the_program_that_started_the_stack(settings: LocalSettings, servers: list[Part]) -> None:
    program = (
        "import time\n"
        "from rich.console import Console\n"
        "from infra.local.parts import parts\n"
        "from infra.local.settings import LocalSettings\n"
        "from infra.local.starting import started\n"
        "settings = LocalSettings()\n"
        "some = [part for part in parts(settings) if part.name in {'redis', 'kafka'}]\n"
        "with started(some, settings, Console(quiet=True), {}):\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "ready\n"
        starter.kill()
    _wait_until_free(servers)
