"""Real workers and beats, and jobs that tests send them."""

import os
import subprocess
import sys
from pathlib import Path

import httpx

from infra.local.ports import free_port
from infra.local.ready import http_answers
from jobs.settings import JobsSettings
from tests.servers import HOST, Server

ROOT = Path(__file__).resolve().parents[1]


def jobs_settings(folder: Path, redis_url: str, **chosen: object) -> JobsSettings:
    """Settings of jobs whose files are in `folder`, with a basis in `folder`/basis, on free ports."""
    places = {"redis_url": redis_url, "jobs_dir": folder / "jobs", "basis_dir": folder / "basis"}
    ports = {"worker_port": free_port(), "beat_port": free_port()}
    return JobsSettings(_env_file=None, **(places | ports | chosen))


def environment(settings: JobsSettings) -> dict[str, str]:
    """What gives a process these settings."""
    values = {f"SLOP_{name.upper()}": str(value) for name, value in settings.model_dump().items()}
    return values | {"PYTHONPATH": os.pathsep.join([str(ROOT / "services"), str(ROOT)])}


class JobsProcess(Server):
    """`python -m jobs worker` or `beat`, not started yet."""

    def __init__(self, name: str, settings: JobsSettings, folder: Path) -> None:
        port = settings.worker_port if name == "worker" else settings.beat_port
        self.url = f"http://{HOST}:{port}"
        command = [sys.executable, "-m", "jobs", name]
        env = environment(settings)
        super().__init__(command, lambda: http_answers(f"{self.url}/readyz"), folder / f"{name}.log", env)

    def metric(self, line: str) -> float:
        """The value of a line of /metrics."""
        text = httpx.get(f"{self.url}/metrics", timeout=5).text
        return next(float(value) for name, value in (x.rsplit(" ", 1) for x in text.splitlines()) if name == line)


def command(settings: JobsSettings, *words: str, timeout_s: float = 60) -> "subprocess.CompletedProcess[str]":
    """`python -m jobs WORDS`, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "jobs", *words],
        env=os.environ | environment(settings),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
