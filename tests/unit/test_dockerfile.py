"""What the images' stages copy is enough for what they run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "infra" / "docker" / "Dockerfile"


def copied_by(stage: str) -> list[tuple[list[str], str]]:
    """The (sources, target) of our own code that a stage copies from the checkout."""
    _, _, body = DOCKERFILE.read_text().partition(f" AS {stage}\n")
    lines = re.split(r"^FROM ", body, flags=re.MULTILINE)[0].splitlines()
    words = [line.split()[1:] for line in lines if line.startswith(("COPY services", "COPY native"))]
    return [(sources, target) for *sources, target in words]


@pytest.mark.parametrize(("stage", "module"), [("converter", "native.model"), ("engine", "native.vllm")])
def test_a_stage_that_copies_single_files_can_import_what_it_runs(stage: str, module: str, tmp_path: Path) -> None:
    for sources, target in copied_by(stage):
        (tmp_path / target).mkdir(exist_ok=True)
        for source in sources:
            shutil.copy(ROOT / source, tmp_path / target)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", f"import {module}"], cwd=tmp_path, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
