import pytest
from rich.console import Console

from native.up import StackFailed
from studies.posts import StudyError
from studies.screen import run_study


@pytest.mark.parametrize(
    ("error", "status"), [(StudyError("no posts"), 1), (StackFailed("no vLLM"), 1), (KeyboardInterrupt(), 130)]
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
