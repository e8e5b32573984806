"""How many tokens the engine writes in a load test, and how many for the same readers when it works alone."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from client.chats import Chats
from client.texts import Sampling
from loadtests.engine_alone import Plan, Steps
from loadtests.reading import Trace
from loadtests.readings import OwnMetrics, Source, ThroughGrafana, Unreadable
from loadtests.settings import LoadSettings
from slop.basis import Template

SCRIPT: Final = Path(__file__).parent / "engine_alone.py"
SERVICES: Final = ("vllm", "vllm-gpu")
TOKENS: Final = "vllm:generation_tokens_total"
COMPOSE_S: Final = 20.0
GRACE_S: Final = 150.0
WARM_S: Final = 20.0  # after so long, readers who began together no longer ask at the same moments
HERE_URL: Final = "http://127.0.0.1:8000/v1"


@dataclass(frozen=True, slots=True)
class Written:
    """Tokens that the engine has written from its start until a moment, which is in seconds."""

    tokens: float
    at_s: float


def plan_readers(traces: Sequence[Trace], tokens: float) -> list[Steps]:
    """The steps of readers who ask the engine alone for what they asked for in the load test.

    Args:
        traces: what readers did in the load test; those who were never answered are left out.
        tokens: that the engine wrote for all of them; all tokens are taken to have the same number of characters.
    """
    characters = sum(sum(posts) for trace in traces for posts in trace.characters)
    a_token = max(characters / max(tokens, 1.0), 1e-9)
    return [
        (trace.pauses_s, [[max(1, round(count / a_token)) for count in posts] for posts in trace.characters])
        for trace in traces
        if trace.pauses_s and trace.characters
    ]


def warm_of(seconds: float) -> float:
    """How long a load of `seconds` warms up before anything is counted, seconds."""
    return min(WARM_S, seconds / 2)


@dataclass(frozen=True, slots=True)
class Alone:
    """What the engine does when it works alone.

    Attributes:
        tokens_per_s: that it writes.
        median_s: that a request takes; None if none was answered.
    """

    tokens_per_s: float
    median_s: float | None


class EngineUnderTest:
    """The engine of the stack under test: of the local run at its port, of compose in its container."""

    def __init__(self, settings: LoadSettings) -> None:
        self._settings = settings
        self._own: Source = OwnMetrics(settings.vllm_url.removesuffix("/v1"))
        self._grafana = ThroughGrafana(settings.grafana)

    def written(self) -> Written | None:
        """Tokens until now; None where neither the engine nor Grafana's Prometheus can be asked."""
        try:
            return Written(sum(reading.value for reading in self._own.read(TOKENS)), time.time())
        except Unreadable:
            pass
        try:
            tokens = sum(reading.value for reading in self._grafana.read(f"sum({TOKENS})"))
            at_s = max((reading.value for reading in self._grafana.read(f"max(timestamp({TOKENS}))")), default=0.0)
        except Unreadable:
            return None
        return Written(tokens, at_s) if at_s else None

    def alone(self, readers: list[Steps], seconds: float) -> Alone | None:
        """What it writes for the same readers when it works alone; None where the engine can't be reached.

        Args:
            readers: what each does, see `plan_readers`.
            seconds: for how long in all; the first WARM_S are not counted.
        """
        if not readers:
            return None
        command = self._command()
        if command is None:
            return None
        words, url = command
        drawn = Sampling()  # its defaults are generation's
        plan = Plan(
            url=url,
            messages=Chats(Template()).plain(),
            temperature=drawn.temperature,
            min_p=drawn.min_p,
            warm_s=warm_of(seconds),
            seconds=seconds - warm_of(seconds),
            readers=readers,
        )
        try:
            done = subprocess.run(  # noqa: S603
                words,
                input=json.dumps(asdict(plan)),
                capture_output=True,
                text=True,
                timeout=seconds + GRACE_S,
                check=True,
            )
            figures = json.loads(done.stdout)
            return Alone(figures["tokens"] / figures["seconds"], figures["median_s"])
        except (OSError, subprocess.SubprocessError, ValueError, LookupError):
            return None

    def _command(self) -> tuple[list[str], str] | None:
        """How the script is run where the engine can be reached, and the engine's URL there."""
        try:
            self._own.read(TOKENS)
        except Unreadable:
            service = _in_compose()
            if service is None:
                return None
            script = SCRIPT.read_text()
            return ["docker", "compose", "exec", "-T", service, "python3", "-c", script], HERE_URL
        return [sys.executable, str(SCRIPT)], self._settings.vllm_url


def _in_compose() -> str | None:
    """The service of compose that is the engine; None if none runs."""
    try:
        done = subprocess.run(
            ["docker", "compose", "ps", "--services", "--status", "running"],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=COMPOSE_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return next((service for service in SERVICES if service in done.stdout.split()), None)
