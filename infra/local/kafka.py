"""`python -m infra.local.kafka` runs a broker in the foreground, on loopback.

Tansu, in memory only, unless `KAFKA_HOME` names an unpacked Apache Kafka, which keeps its data on disk.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from infra.local import binaries
from infra.local.settings import LocalSettings

CLUSTER_ID = "5L6g3nShT-eMCtK--X86sw"
FORMAT_TIMEOUT_S = 60


class Proxied(NamedTuple):
    """A second port of a broker, for clients that come by a proxy: they have to be told the proxy's port."""

    listen: int
    advertised: int


def tansu_command(port: int, host: str = "127.0.0.1") -> list[str]:
    """The command line of a Tansu broker that keeps everything in memory.

    Raises:
        infra.models.packages.MissingBinary: it is not installed.
    """
    address = f"tcp://{host}:{port}"
    listeners = ["--listener-url", address, "--advertised-listener-url", address]
    return [str(binaries.tansu()), "broker", *listeners, "--storage-engine", "memory://tansu/"]


def apache_properties(
    host: str, port: int, controller_port: int, data: Path, proxied: Proxied | None = None
) -> dict[str, str]:
    """The settings of a single node, broker and controller, with its data in `data`."""
    listeners = [f"PLAINTEXT://{host}:{port}", f"CONTROLLER://{host}:{controller_port}"]
    advertised = [f"PLAINTEXT://{host}:{port}"]
    if proxied:
        listeners.append(f"PROXIED://{host}:{proxied.listen}")
        advertised.append(f"PROXIED://{host}:{proxied.advertised}")
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "listeners": ",".join(listeners),
        "advertised.listeners": ",".join(advertised),
        "controller.quorum.voters": f"1@{host}:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT",
        "log.dirs": str(data / "log"),
        "auto.create.topics.enable": "false",  # our services create theirs, with their settings
        # A single node: internal topics can have no second copy, and nobody else can join a group.
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
    }


def apache_command(
    home: Path,
    port: int,
    controller_port: int,
    data: Path,
    host: str = "127.0.0.1",
    proxied: Proxied | None = None,
) -> list[str]:
    """Format the folder `data` if it is new; the command line of an Apache Kafka that runs on it.

    Raises:
        infra.models.packages.MissingBinary: `home` is no Apache Kafka, or there is no Java.
        subprocess.CalledProcessError: the folder can't be formatted; its output says why.
    """
    scripts, data = binaries.apache_kafka(home), data.resolve()
    data.mkdir(parents=True, exist_ok=True)
    properties = data / "server.properties"
    chosen = apache_properties(host, port, controller_port, data, proxied)
    properties.write_text("".join(f"{name}={value}\n" for name, value in chosen.items()))
    if not (data / "log" / "meta.properties").exists():
        storage = [str(scripts / "kafka-storage.sh"), "format", "-t", CLUSTER_ID, "-c", str(properties)]
        environment = os.environ | apache_environment(data)
        subprocess.run(storage, check=True, capture_output=True, text=True, timeout=FORMAT_TIMEOUT_S, env=environment)
    return [str(scripts / "kafka-server-start.sh"), str(properties)]


def apache_environment(data: Path) -> dict[str, str]:
    """What Kafka's scripts take from the environment: little memory unless the user says more, logs beside the data."""
    heap = os.environ.get("KAFKA_HEAP_OPTS", "-Xms128m -Xmx512m")
    return {"KAFKA_HEAP_OPTS": heap, "LOG_DIR": str(data.resolve() / "logs")}


def about(settings: LocalSettings) -> str:
    """What the broker is and how long it keeps what it is told, for people."""
    if settings.kafka_home is not None:
        return f"Apache Kafka of {settings.kafka_home}, its data in {settings.run_dir / 'kafka'}"
    return (
        "Tansu, a broker for development: interactions and profiles are kept in memory only and are gone when it "
        "stops (KAFKA_HOME=folder runs Apache Kafka on disk instead)"
    )


def main() -> None:
    """Become the broker."""
    settings = LocalSettings()
    host, port = settings.kafka_address
    sys.stdout.write(about(settings) + "\n")
    sys.stdout.flush()
    environment = dict(os.environ)
    if settings.kafka_home is None:
        line = tansu_command(port, host)
    else:
        data = settings.run_dir / "kafka"
        line = apache_command(settings.kafka_home, port, settings.kafka_controller_port, data, host)
        environment |= apache_environment(data)
    os.execve(line[0], line, environment)


if __name__ == "__main__":
    main()
