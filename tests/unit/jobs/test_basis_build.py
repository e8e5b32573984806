import threading
from pathlib import Path

import pytest
from pydantic import ValidationError

from jobs.basis_build import BuildOptions, BuildRefused, Work, fit_basis
from jobs.limits import Limits
from jobs.settings import JobsSettings


def fit(settings: JobsSettings) -> None:
    fit_basis("job", settings, BuildOptions(), Limits(60, threading.Event()), lambda _: None)


def settings_in(folder: Path, **chosen: object) -> JobsSettings:
    (folder / "model").mkdir()
    (folder / "posts.jsonl").touch()
    places = {"jobs_dir": folder / "jobs", "model": str(folder / "model"), "catalogue": folder / "posts.jsonl"}
    return JobsSettings(_env_file=None, **(places | chosen))


def test_options_become_arguments_of_the_trainer() -> None:
    options = BuildOptions(prompts=4, rounds=[3, 2])
    assert options.arguments() == ["--prompts", "4", "--rounds", "3", "2"]
    assert BuildOptions().arguments() == []


@pytest.mark.parametrize("options", [{"out": "/etc"}, {"prompts": "--out=/etc"}, {"prompts": 1}, {"rounds": []}])
def test_options_that_the_trainer_must_not_be_given_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        BuildOptions(**options)


def test_a_build_without_a_model_says_which_setting_names_it(tmp_path: Path) -> None:
    with pytest.raises(BuildRefused, match="SLOP_MODEL"):
        fit(settings_in(tmp_path, model=""))


@pytest.mark.parametrize("name", ["model", "catalogue"])
def test_a_build_from_what_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BuildRefused, match="nowhere is not there"):
        fit(settings_in(tmp_path, **{name: str(tmp_path / "nowhere")}))


def test_progress_is_the_last_state_of_the_last_progress_bar(tmp_path: Path) -> None:
    work = Work(tmp_path)
    assert work.progress() == ""
    work.log.write_bytes(b"loading\nround 1:  10%\rround 1:  20%\r")
    assert work.progress() == "round 1:  20%"
