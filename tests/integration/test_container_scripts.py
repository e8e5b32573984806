"""The scripts that run in containers: health checks, and what looks at the model before anything needs it."""

import hashlib
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from infra.local.ports import free_port
from kit.worker import health_server, in_thread
from tests.servers import KafkaServer

INFRA = Path(__file__).parents[2] / "infra"
Done = subprocess.CompletedProcess[str]


def script(path: str, *arguments: str | int | Path, **environment: str) -> Done:
    command = [str(INFRA / path), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture
def default(tmp_path: Path) -> Path:
    """The default model as its image has it."""
    folder = tmp_path / "default"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).write_text(f"the default {name}")
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(folder.iterdir())]
    (folder / "SHA256SUMS").write_text("".join(sums))
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_the_default_model_is_copied_once(default: Path, target: Path) -> None:
    assert "copied" in script("docker/prepare-model", default, target).stdout
    assert contents(target) == contents(default)
    before = (target / "model.safetensors").stat().st_mtime_ns
    assert "is there" in script("docker/prepare-model", default, target).stdout
    assert (target / "model.safetensors").stat().st_mtime_ns == before


def test_a_copy_that_was_interrupted_or_is_of_another_version_is_made_again(default: Path, target: Path) -> None:
    (target / "model.safetensors").write_text("half of i")
    (target / "SHA256SUMS").write_text("another version")
    assert script("docker/prepare-model", default, target).returncode == 0
    assert contents(target) == contents(default)


def test_a_copy_that_fails_says_so(default: Path, tmp_path: Path) -> None:
    done = script("docker/prepare-model", default, tmp_path / "not there")
    assert done.returncode == 1
    assert "is the disk full?" in done.stderr


def test_a_folder_of_the_users_own_is_left_as_it_is(default: Path, target: Path) -> None:
    for name in ("config.json", "tokenizer.json", "model-00001-of-00001.safetensors"):
        (target / name).write_text(f"another {name}")
    before = contents(target)
    done = script("docker/prepare-model", default, target, SLOP_MODEL_FOLDER="./mine")
    assert (done.returncode, done.stdout) == (0, "model: ./mine is used\n")
    assert contents(target) == before


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_folder_that_is_no_model_is_refused_with_what_it_lacks(default: Path, target: Path, missing: str) -> None:
    for name in {"config.json", "tokenizer.json", "model.safetensors"} - {missing}:
        (target / name).touch()
    done = script("docker/prepare-model", default, target, SLOP_MODEL_FOLDER="./mine")
    assert done.returncode == 1
    assert f"SLOP_MODEL_FOLDER=./mine has no {missing.replace('model.', '*.')}" in done.stderr


def test_a_folder_that_was_not_there_is_refused_by_name(default: Path, target: Path) -> None:
    done = script("docker/prepare-model", default, target, SLOP_MODEL_FOLDER="./mistyped")
    assert done.returncode == 1
    assert "SLOP_MODEL_FOLDER=./mistyped is empty, or was not there" in done.stderr
    assert contents(target) == {}


@pytest.mark.skipif(Path("/proc/driver/nvidia/version").exists(), reason="this machine has a GPU")
def test_the_gpu_profile_on_a_machine_without_one_says_so() -> None:
    done = script("docker/require-gpu")
    assert done.returncode == 1
    assert "no NVIDIA driver" in done.stderr


def test_a_service_is_healthy_when_its_dependencies_answer_and_says_which_does_not() -> None:
    def away() -> None:
        raise ConnectionError("nobody there")

    with ExitStack() as stack:
        well = stack.enter_context(health_server("127.0.0.1", 0, {"redis": in_thread(lambda: None)}))
        ill = stack.enter_context(health_server("127.0.0.1", 0, {"redis": in_thread(away)}))
        assert script("docker/healthy", well).returncode == 0
        done = script("docker/healthy", ill)
        assert done.returncode == 1
        assert '"redis":"ConnectionError: nobody there"' in done.stdout
        assert script("docker/healthy", ill, "/healthz").returncode == 0
    assert script("docker/healthy", free_port()).returncode != 0


def test_a_broker_is_healthy_when_it_answers_a_request(apache_kafka: KafkaServer) -> None:
    port = apache_kafka.bootstrap.rpartition(":")[2]
    assert script("kafka/healthcheck.sh", port).returncode == 0
    assert script("kafka/healthcheck.sh", free_port()).returncode != 0


def test_the_configuration_is_what_the_image_has_whatever_was_there_before(tmp_path: Path) -> None:
    default, target = tmp_path / "default", tmp_path / "target"
    for folder, names in ((default, ("redis.conf", "rules/alerts.yml")), (target, ("redis.conf", "rules/former.yml"))):
        (folder / "rules").mkdir(parents=True)
        for name in names:
            (folder / name).write_text(f"{folder.name}'s")
    for _ in range(2):
        assert script("docker/prepare-configuration", default, target).returncode == 0
        found = {str(path.relative_to(target)): path.read_text() for path in target.rglob("*") if path.is_file()}
        assert found == {"redis.conf": "default's", "rules/alerts.yml": "default's"}
