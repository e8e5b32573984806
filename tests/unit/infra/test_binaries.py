"""Where servers are found."""

from pathlib import Path

import pytest

from infra.local import binaries


def test_the_machines_own_redis_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "redis-server"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert binaries.redis_server() == own


def test_without_one_it_comes_from_its_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert binaries.redis_server().name == "valkey-server"


def test_a_kafka_home_without_kafka_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(binaries.MissingBinary, match=f"KAFKA_HOME={tmp_path} has no bin/kafka-server-start.sh"):
        binaries.apache_kafka(tmp_path)


def test_kafka_without_java_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "kafka-server-start.sh").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(binaries.MissingBinary, match="apt-get install openjdk-17-jre-headless"):
        binaries.apache_kafka(tmp_path)


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(binaries.MissingBinary, match="no_such_package is not installed"):
        binaries.package_folder("no_such_package")
