"""The folders of studies' results, and of what they keep for the next run."""

from pathlib import Path
from typing import Final

from infra.local.settings import ROOT

RESULTS: Final = Path(__file__).parent / "results"
KEPT: Final = ROOT / ".run" / "studies"
