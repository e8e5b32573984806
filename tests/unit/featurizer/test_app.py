import os
import subprocess
import sys
from pathlib import Path

from featurizer.app import instance_under
from featurizer.settings import FeaturizerSettings
from tests.basis import random_basis
from tests.tiny_embedder import save_tiny_embedder


def test_a_featurizer_without_a_basis_says_what_to_do(tmp_path: Path) -> None:
    embedder = save_tiny_embedder(tmp_path / "embedder")
    environment = os.environ | {"SLOP_EMBEDDER": str(embedder), "SLOP_BASIS_DIR": str(tmp_path / "none")}
    done = subprocess.run(
        [sys.executable, "-m", "featurizer"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("featurizer: no usable basis in")


def test_a_replica_that_keeps_its_name_has_one_for_each_basis() -> None:
    settings = FeaturizerSettings(_env_file=None, embedder="none", featurizer_instance="a")
    assert len({instance_under(random_basis(seed=seed), settings) for seed in (0, 1)}) == 2
    unnamed = FeaturizerSettings(_env_file=None, embedder="none")
    assert instance_under(random_basis(), unnamed) == ""
