"""The short form of `make faults`: a whole stack of its own, whose parts are killed while readers react."""

import sys
from pathlib import Path

import pytest
from rich.console import Console

from loadtests.faults.__main__ import run
from loadtests.faults.settings import FaultSettings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FaultSettings:
    monkeypatch.setattr("sys.argv", ["faults"])
    monkeypatch.setenv("SLOP_RUN_DIR", str(tmp_path))
    return FaultSettings(rounds=6, others=False, readers=8, load_s=1.0)


def test_whatever_is_killed_all_that_was_accepted_is_learned_once_and_as_if_nothing_had_happened(
    settings: FaultSettings,
) -> None:
    outcome = run(settings, Console(file=sys.stdout, width=200))
    assert [
        (row.fault, row.missing, row.twice, row.differing, row.wrong) for row in outcome.rows if not row.holds
    ] == []
    assert outcome.holds
