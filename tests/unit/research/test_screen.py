import importlib
from io import StringIO

import pytest
from rich.console import Console

from client.errors import UserError
from infra.local.starting import StackFailed
from research import screen
from research.screen import progress_on, run_study
from tests.waiting import eventually


@pytest.mark.parametrize(
    ("error", "status"), [(UserError("no posts"), 1), (StackFailed("no vLLM"), 1), (KeyboardInterrupt(), 130)]
)
def test_a_study_that_ends_early_says_why_and_has_its_exit_status(
    error: BaseException, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def study(_: Console) -> None:
        raise error

    assert run_study(study) == status
    assert (str(error) or "stopped") in capsys.readouterr().out


def test_a_study_that_ends_well_exits_with_0() -> None:
    assert run_study(lambda console: console.print("done")) == 0


def test_a_log_has_a_line_for_every_stage_that_is_done() -> None:
    console = Console(file=StringIO(), width=80)
    with progress_on(console) as progress:
        first, second = progress.add_task("features", total=2), progress.add_task("posts", total=None)
        progress.advance(first)
        assert console.file.getvalue() == ""  # type: ignore[attr-defined]
        progress.advance(first)
        progress.update(second, total=7, completed=7)
        progress.update(second, description="again")
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.split() for line in lines] == [["features", "2", "in", "0", "s"], ["posts", "7", "in", "0", "s"]]


def test_a_log_is_told_of_a_stage_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "SILENT_S", 0.0)
    monkeypatch.setattr(screen, "LOOK_S", 0.01)
    console = Console(file=StringIO(), width=80)
    with progress_on(console) as progress:
        progress.update(progress.add_task("posts", total=7), completed=3)
        eventually(lambda: "posts 3 of 7" in console.file.getvalue())  # type: ignore[attr-defined]


MODULES = (
    "demo replay capacity clusters humor.settings composition.__main__ cost.__main__ encoders.__main__ "
    "likelihood.settings prompts.__main__ topics.__main__ variants.__main__"
)


@pytest.mark.parametrize("module", MODULES.split())
def test_every_study_tells_its_options(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    named = vars(importlib.import_module(f"research.{module}"))
    (options,) = (
        thing for name, thing in named.items() if name.lower() == f"{module.split('.', maxsplit=1)[0]}settings"
    )
    with pytest.raises(SystemExit, match="0"):
        options(_cli_parse_args=["--help"])
    assert "--out" in capsys.readouterr().out
