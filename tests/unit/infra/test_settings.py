"""What the environment says about the local run."""

from pathlib import Path

import pytest

from infra.local.parts import parts
from infra.local.settings import LocalSettings


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KAFKA_HOME", "XDG_CACHE_HOME", "SLOP_CACHE_DIR", "SLOP_MODEL", "SLOP_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_ports_are_the_documented_ones_by_default() -> None:
    assert {part.name: part.port for part in parts(LocalSettings())} == {
        "redis": 6379,
        "kafka": 9092,
        "vllm": 8000,
        "collector": 8001,
        "featurizer": 8011,
        "learner": 8012,
        "generation": 8002,
        "worker": 8013,
        "beat": 8014,
    }


@pytest.mark.parametrize(
    ("part", "variable", "value"),
    [
        ("redis", "SLOP_REDIS_URL", "redis://127.0.0.1:7001/0"),
        ("kafka", "SLOP_KAFKA_BOOTSTRAP", "127.0.0.1:7001"),
        ("vllm", "SLOP_VLLM_URL", "http://127.0.0.1:7001/v1"),
        ("collector", "SLOP_COLLECTOR_PORT", "7001"),
        ("featurizer", "SLOP_FEATURIZER_PORT", "7001"),
        ("learner", "SLOP_LEARNER_PORT", "7001"),
        ("generation", "SLOP_GENERATION_PORT", "7001"),
        ("worker", "SLOP_WORKER_PORT", "7001"),
        ("beat", "SLOP_BEAT_PORT", "7001"),
    ],
)
def test_every_port_is_set_by_the_environment(
    monkeypatch: pytest.MonkeyPatch, part: str, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    (found,) = [one for one in parts(LocalSettings()) if one.name == part]
    assert found.port == 7001
    assert found.setting.startswith(f"{variable}=")


def test_a_server_on_another_machine_is_not_started_here() -> None:
    elsewhere = LocalSettings(vllm_url="http://10.1.2.3:8000/v1")
    assert [part.name for part in parts(elsewhere) if not part.is_here] == ["vllm"]


def test_redis_is_kept_on_disk_only_if_the_log_is() -> None:
    assert not LocalSettings().durable
    assert LocalSettings(KAFKA_HOME=Path("/opt/kafka")).durable
    assert LocalSettings(kafka_bootstrap="10.1.2.3:9092").durable


def test_kafka_home_is_read_without_a_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_HOME", "/opt/kafka")
    assert LocalSettings().kafka_home == Path("/opt/kafka")


def test_settings_are_read_from_a_file_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SLOP_COLLECTOR_PORT=7001\nKAFKA_HOME=/opt/kafka\n")
    settings = LocalSettings()
    assert (settings.collector_port, settings.kafka_home) == (7001, Path("/opt/kafka"))


def test_the_cache_is_where_the_desktop_standard_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert LocalSettings().cache_dir == tmp_path / ".cache" / "slop"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert LocalSettings().cache_dir == tmp_path / "xdg" / "slop"
    monkeypatch.setenv("SLOP_CACHE_DIR", str(tmp_path / "own"))
    assert LocalSettings().cache_dir == tmp_path / "own"
