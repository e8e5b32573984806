"""The compose system as a test runs it: a project of its own, on free ports, of which only the images are left."""

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from infra.local.ports import free_port

ROOT = Path(__file__).resolve().parents[1]
PROBES = Path(__file__).parent / "probes"
PUBLISHED = ("COLLECTOR", "GENERATION", "GRAFANA")
UP_S = 480
DOWN_S = 120
COMMAND_S = 120


class DockerFailed(Exception):  # noqa: N818
    """A command of docker ended with an error; the message is what it said."""


def docker(*arguments: str, environment: dict[str, str] | None = None, stdin: str = "", timeout_s: float = 60) -> str:
    """What a docker command prints; raises DockerFailed."""
    done = subprocess.run(
        ["docker", *arguments],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("SLOP_")} | (environment or {}),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode:
        raise DockerFailed(f"docker {' '.join(arguments)[:300]}: {done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def compose_answers() -> bool:
    """Whether docker and its compose plugin are there, and the engine runs."""
    try:
        docker("info", timeout_s=20)
        docker("compose", "version", timeout_s=20)
    except (OSError, DockerFailed, subprocess.TimeoutExpired):
        return False
    return True


@dataclass(frozen=True, slots=True)
class Container:
    """A container of the project.

    Attributes:
        exit_code: 0 while it runs.
        addresses: by the name of the network.
        published: (address, port) on the host of every published port.
        health: starting, healthy or unhealthy; None where it has no health check.
    """

    service: str
    container_id: str
    image: str
    state: str
    exit_code: int
    health: str | None
    addresses: dict[str, str]
    published: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, inspected: dict[str, Any]) -> Self:
        """From what `docker inspect` tells of one."""
        networks, bindings = inspected["NetworkSettings"]["Networks"], inspected["NetworkSettings"]["Ports"]
        return cls(
            service=inspected["Config"]["Labels"]["com.docker.compose.service"],
            container_id=inspected["Id"],
            image=inspected["Image"],
            state=inspected["State"]["Status"],
            exit_code=inspected["State"]["ExitCode"],
            health=inspected["State"].get("Health", {}).get("Status"),
            addresses={name: network["IPAddress"] for name, network in networks.items() if network["IPAddress"]},
            published=tuple(
                (binding["HostIp"], int(binding["HostPort"]))
                for some in (bindings or {}).values()
                for binding in some or []
            ),
        )


class Compose:
    """The repository's compose.yaml as it is; settings of the environment or of a `.env` have no say."""

    def __init__(self, project: str, folder: Path) -> None:
        self.project = project
        self.environment = {f"SLOP_{name}_PORT": str(free_port()) for name in PUBLISHED}
        self._no_settings = folder / "empty.env"
        self._no_settings.touch()
        self.environment["SLOP_ENV_FILE"] = str(self._no_settings)

    def __call__(self, *arguments: str, stdin: str = "", timeout_s: float = COMMAND_S) -> str:
        """What a command of `docker compose` prints; raises DockerFailed."""
        chosen = ("--project-name", self.project, "--env-file", str(self._no_settings), "--file", "compose.yaml")
        return docker("compose", *chosen, *arguments, environment=self.environment, stdin=stdin, timeout_s=timeout_s)

    def url(self, name: str) -> str:
        """Base URL of a published service."""
        return f"http://127.0.0.1:{self.environment[f'SLOP_{name.upper()}_PORT']}"

    def up(self, *flags: str) -> None:
        """Start everything and wait until it is healthy; raises DockerFailed with the newest logs."""
        try:
            self("up", "--wait", "--wait-timeout", str(UP_S - 60), *flags, timeout_s=UP_S)
        except DockerFailed as error:
            raise DockerFailed(f"{error}\n{self.logs()}") from error

    def down(self, *flags: str) -> None:
        """Stop and remove the containers and networks."""
        self("down", "--remove-orphans", *flags, timeout_s=DOWN_S)

    def logs(self) -> str:
        """The newest lines of every container."""
        return self("logs", "--no-color", "--tail", "30")

    def running(self) -> list[Container]:
        """The containers that have not ended."""
        return [container for container in self.containers().values() if container.state == "running"]

    def containers(self) -> dict[str, Container]:
        """All containers by their service, those that have ended too."""
        ids = self("ps", "--all", "--quiet").split()
        found = [Container.of(one) for one in json.loads(docker("inspect", *ids))]
        return {container.service: container for container in found}

    def probe_within(self, service: str, name: str) -> list[str]:
        """The lines that a probe prints inside a service's container."""
        return self("exec", "-T", service, "python", "-", stdin=probe(name)).splitlines()


def probe(name: str) -> str:
    """The source of a probe."""
    return (PROBES / f"{name}.py").read_text()


def probe_from(network: str, image: str, name: str, arguments: Sequence[str] = ()) -> list[str]:
    """The lines that a probe prints in a new container of an image that has Python, on a network."""
    command = ("run", "--rm", "--interactive", "--network", network, "--entrypoint", "python", image, "-", *arguments)
    return docker(*command, stdin=probe(name), timeout_s=COMMAND_S).splitlines()
