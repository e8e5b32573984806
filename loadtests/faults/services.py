"""The services as the fault suite runs them, with what their /readyz and /metrics say."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from infra.local.ready import http_answers
from infra.local.servers import HOST, Server
from infra.local.settings import ROOT

READY_TIMEOUT_S: Final = 5.0
PYTHONPATH: Final = f"{ROOT / 'services'}{os.pathsep}{ROOT}"
MODULES: Final[Mapping[str, str]] = {
    "collector": "collector",
    "featurizer": "featurizer",
    "learner": "learner",
    "generation": "generation",
}


@dataclass(frozen=True, slots=True)
class Readiness:
    """What /readyz said.

    Attributes:
        answered: whether somebody did.
        ready: whether the service is.
        failing: the checks that fail, with what they say; also those that do not make the service unready.
    """

    answered: bool = False
    ready: bool = False
    failing: Mapping[str, str] = field(default_factory=dict)

    def ready_without(self, check: str) -> bool:
        """Whether the service is ready, or would be if that check held."""
        return self.ready or (self.answered and set(self.failing) <= {check})


class Service(Server):
    """`python -m …` of one service, on a free port.

    Attributes:
        name: as in the Procfile.
        url: of its HTTP port.
    """

    def __init__(self, name: str, port: int, folder: Path, environment: Mapping[str, str], timeout_s: float) -> None:
        """It is not started yet.

        Args:
            name: one of MODULES.
            port: that it listens on, as `environment` says too.
            folder: where its log goes.
            environment: its settings.
            timeout_s: how long it may take to answer.
        """
        self.name, self.url = name, f"http://{HOST}:{port}"
        command, env = [sys.executable, "-m", MODULES[name]], {**environment, "PYTHONPATH": PYTHONPATH}
        super().__init__(command, lambda: http_answers(f"{self.url}/healthz"), folder / f"{name}.log", env, timeout_s)

    def readiness(self) -> Readiness:
        """What it says of itself now."""
        try:
            answer = httpx.get(f"{self.url}/readyz", timeout=READY_TIMEOUT_S, trust_env=False)
            checks: dict[str, str] = answer.json()["checks"]
        except (httpx.HTTPError, ValueError, KeyError):
            return Readiness()
        failing = {name: said for name, said in checks.items() if said != "ok"}
        return Readiness(True, answer.status_code == httpx.codes.OK, failing)

    def total(self, metric: str) -> float:
        """The sum of a metric over its labels; 0 while nobody answers."""
        try:
            lines = httpx.get(f"{self.url}/metrics", timeout=READY_TIMEOUT_S, trust_env=False).text.splitlines()
        except httpx.HTTPError:
            return 0.0
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{metric}{{", f"{metric} ")))
