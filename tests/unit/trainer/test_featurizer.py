import os
import subprocess
import sys
from pathlib import Path


def test_a_featurizer_without_a_basis_says_what_to_do(tmp_path: Path) -> None:
    environment = os.environ | {"SLOP_MODEL": str(tmp_path), "SLOP_BASIS_DIR": str(tmp_path / "none")}
    done = subprocess.run(
        [sys.executable, "-m", "trainer.featurizer"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("featurizer: no usable basis in")
