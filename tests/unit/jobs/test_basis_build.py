import threading
from pathlib import Path
from typing import Self

import pytest
from pydantic import ValidationError

from jobs import basis_build
from jobs.basis_build import BuildOptions, BuildRefused, Work, fit_basis
from jobs.limits import JobLimits
from jobs.settings import JobsSettings
from slop.rollout.live import Bases, BasisRef
from slop.rollout.live import StoredBases as LiveRecord
from slop.style_subject import StyleSubjectBasis
from tests.basis import random_basis, spread_over, style_subject_for


def fit(settings: JobsSettings) -> None:
    fit_basis("job", settings, BuildOptions(), JobLimits(60, threading.Event()), lambda _: None)


def settings_in(folder: Path, **chosen: object) -> JobsSettings:
    (folder / "model").mkdir()
    (folder / "posts.jsonl").touch()
    places = {"jobs_dir": folder / "jobs", "model": str(folder / "model"), "catalogue": folder / "posts.jsonl"}
    places |= {"embedder": "an-embedder"}
    return JobsSettings(_env_file=None, **(places | chosen))


def test_options_become_arguments_of_the_training_command() -> None:
    options = BuildOptions(prompts=4, rounds=[3, 2], most_posts=900)
    assert options.arguments() == ["--prompts", "4", "--rounds", "3", "2", "--most-posts", "900"]
    assert BuildOptions().arguments() == []


@pytest.mark.parametrize("options", [{"out": "/etc"}, {"prompts": "--out=/etc"}, {"prompts": 1}, {"rounds": []}])
def test_options_that_a_training_command_must_not_be_given_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        BuildOptions(**options)


def test_a_build_without_a_model_says_which_setting_names_it(tmp_path: Path) -> None:
    with pytest.raises(BuildRefused, match="SLOP_MODEL"):
        fit(settings_in(tmp_path, model=""))


def test_a_build_without_an_embedder_says_which_setting_names_it(tmp_path: Path) -> None:
    with pytest.raises(BuildRefused, match="SLOP_EMBEDDER"):
        fit(settings_in(tmp_path, embedder=""))


@pytest.mark.parametrize("name", ["model", "catalogue"])
def test_a_build_from_what_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BuildRefused, match="nowhere is not there"):
        fit(settings_in(tmp_path, **{name: str(tmp_path / "nowhere")}))


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], Path]]:
    """The command of every build that is begun, and the basis that its process is told of."""
    builds: list[tuple[list[str], Path]] = []
    monkeypatch.setattr(
        basis_build,
        "_build",
        lambda _, steps, settings, *__: builds.extend((s.command, settings.basis_dir) for s in steps),
    )
    return builds


class Rolled:
    """A Redis in which a basis was rolled out."""

    def __init__(self, configured: Path, live: Path) -> None:
        self._record = LiveRecord(BasisRef.of(configured).version, Bases(BasisRef.of(live)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def get(self, _: str) -> str:
        return self._record.to_json()


def test_a_basis_is_also_built_from_the_log_with_reactions_under_the_live_basis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: list[tuple[list[str], Path]]
) -> None:
    random_basis(seed=0).save(tmp_path / "configured")
    random_basis(seed=1).save(tmp_path / "live")
    rolled = Rolled(tmp_path / "configured", tmp_path / "live")
    monkeypatch.setattr(basis_build, "connected", lambda *_: rolled)
    fit(settings_in(tmp_path, basis_dir=tmp_path / "configured"))
    [(command, basis)] = begun
    assert "--log" in command
    assert basis == tmp_path / "live"


def test_the_first_basis_of_a_model_needs_no_other(tmp_path: Path, begun: list[tuple[list[str], Path]]) -> None:
    fit(settings_in(tmp_path, basis_dir=tmp_path / "nowhere"))
    assert "--log" in begun[0][0]


def test_a_basis_may_be_built_from_the_catalogue_alone(tmp_path: Path, begun: list[tuple[list[str], Path]]) -> None:
    fit(settings_in(tmp_path, fit_basis_log=False, redis_url="redis://127.0.0.1:1/0"))
    assert "--log" not in begun[0][0]


def test_a_build_has_the_catalogue_that_ships_unless_another_is_named(
    tmp_path: Path, begun: list[tuple[list[str], Path]]
) -> None:
    settings = settings_in(tmp_path, fit_basis_log=False)
    fit(settings)
    fit(settings.model_copy(update={"catalogue": None}))
    (named, _), (shipped, _) = begun
    assert named[named.index("--catalogue") + 1] == str(tmp_path / "posts.jsonl")
    assert "--catalogue" not in shipped  # `training.basis` knows where it is


def test_prompts_of_styles_and_subjects_are_built_to_go_with_a_basis_where_that_is_asked_for(
    tmp_path: Path, begun: list[tuple[list[str], Path]]
) -> None:
    settings = settings_in(tmp_path, fit_basis_log=False, fit_basis_style_subject=True)
    options = BuildOptions(prompts=4, rounds=[3, 2], seed=7)
    fit_basis("job", settings, options, JobLimits(60, threading.Event()), lambda _: None)
    (mixture, _), (style_subject, _) = begun
    out = mixture[mixture.index("--out") + 1]
    assert style_subject[2] == "training.basis.style_subject"
    assert style_subject[style_subject.index("--mixture") + 1] == style_subject[style_subject.index("--out") + 1] == out
    assert style_subject[style_subject.index("--checkpoint") + 1] != mixture[mixture.index("--checkpoint") + 1]
    assert style_subject[-2:] == ["--seed", "7"]
    assert "--rounds" not in style_subject


def test_a_build_goes_on_with_what_is_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_in(tmp_path, fit_basis_log=False, fit_basis_style_subject=True)
    trained = []
    monkeypatch.setattr(basis_build, "_train", lambda command, *_: trained.append(command[2]))
    basis = random_basis()
    settings.bases_dir.mkdir(parents=True)
    basis.save(settings.bases_dir / ".building" / "job" / "basis")
    fit(settings)
    assert trained == ["training.basis.style_subject"]
    assert BasisRef.of(settings.bases_dir / basis.version).version == basis.version


def test_style_subject_prompts_are_published_with_the_basis_that_they_go_with(tmp_path: Path) -> None:
    basis, work, bases = random_basis(), Work(tmp_path / "job"), tmp_path / "bases"
    bases.mkdir()
    basis.save(work.basis)
    style_subject_for(basis, spread_over([(None, 0), (None, 1), (0, None), (1, None)])).save(work.basis)
    basis_build._publish(work, bases)
    assert StyleSubjectBasis.beside(bases / basis.version, basis) is not None


def test_progress_is_the_last_state_of_the_last_progress_bar(tmp_path: Path) -> None:
    work = Work(tmp_path)
    assert work.progress() == ""
    work.log.write_bytes(b"loading\nround 1:  10%\rround 1:  20%\r")
    assert work.progress() == "round 1:  20%"
