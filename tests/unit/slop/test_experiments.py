from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from slop.arms import Arm
from slop.experiments import ArmAssigner, Assignment, Experiment, InvalidExperiment, load_experiments

AUTUMN = """
name = "autumn"
start = 2026-12-01T00:00:00Z
end = 2026-12-15T00:00:00+01:00

[arms]
base = 1
soft = 2
history = 2.5
"""
USERS = [f"reader-{number}" for number in range(300)]
BEFORE, WITHIN, AFTER = (datetime(2026, month, 10, tzinfo=UTC) for month in (11, 12, 1))
AFTER = AFTER.replace(year=2027)
DEFAULT = {Arm.SOFT: 0.95, Arm.BASE: 0.05}


def loaded(folder: Path, *texts: str) -> tuple[Experiment, ...]:
    for number, text in enumerate(texts):
        (folder / f"{number}.toml").write_text(text)
    return load_experiments(folder)


def test_a_file_says_name_arms_weights_start_and_end(tmp_path: Path) -> None:
    [autumn] = loaded(tmp_path, AUTUMN)
    assert (autumn.name, autumn.weights) == ("autumn", {Arm.BASE: 1, Arm.SOFT: 2, Arm.HISTORY: 2.5})
    assert autumn.end - autumn.start == timedelta(days=14) - timedelta(hours=1)
    assert load_experiments(tmp_path / "0.toml") == (autumn,)
    assert load_experiments(None) == ()


@pytest.mark.parametrize(
    ("was", "now", "why"),
    [
        ('name = "autumn"', 'name = "An Autumn"', "name"),
        ('name = "autumn"', "", "name"),
        ("2026-12-01T00:00:00Z", "2026-12-01T00:00:00", "start"),
        ("2026-12-01T00:00:00Z", "2027-12-01T00:00:00Z", "ends before it starts"),
        ("history = 2.5", "history = 0", "history"),
        ("history = 2.5", "histories = 2", "histories"),
        ("history = 2.5", "history = nan", "history"),
        ("base = 1", "", "needs the arm base"),
        ("soft = 2\nhistory = 2.5", "", "compare"),
        ("base = 1", "base = 1\nbase = 2", "0.toml"),
        ("[arms]", "more = 1\n[arms]", "more"),
    ],
)
def test_what_is_no_experiment_is_refused_with_the_reason(tmp_path: Path, was: str, now: str, why: str) -> None:
    assert was in AUTUMN
    with pytest.raises(InvalidExperiment, match=why):
        loaded(tmp_path, AUTUMN.replace(was, now))


def test_a_path_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidExperiment, match="no such file"):
        load_experiments(tmp_path / "none")


def test_experiments_may_follow_each_other_and_not_overlap(tmp_path: Path) -> None:
    dates = "2026-12-01T00:00:00Z", "2026-12-15T00:00:00+01:00"
    winter = AUTUMN.replace("autumn", "winter").replace(dates[0], dates[1]).replace(dates[1], "2027-01-01T00:00:00Z", 2)
    winter = winter.replace("start = 2027-01-01T00:00:00Z", f"start = {dates[1]}")
    assert [one.name for one in loaded(tmp_path, winter, AUTUMN)] == ["autumn", "winter"]
    with pytest.raises(InvalidExperiment, match="winter starts before autumn ends"):
        loaded(tmp_path, winter.replace("start = 2026-12-15", "start = 2026-12-14"), AUTUMN)
    with pytest.raises(InvalidExperiment, match="several experiments are called autumn"):
        loaded(tmp_path, winter.replace("winter", "autumn"), AUTUMN)


def test_readers_are_in_the_arms_of_the_experiment_while_it_runs(tmp_path: Path) -> None:
    experiments = loaded(tmp_path, AUTUMN)

    def at(now: datetime) -> list[Assignment]:
        assigner = ArmAssigner("default", DEFAULT, experiments, lambda: now)
        return [assigner.assign(user) for user in USERS]

    assert at(BEFORE) == at(AFTER) == [ArmAssigner("default", DEFAULT).assign(user) for user in USERS]
    assert {one.experiment for one in at(BEFORE)} == {""}
    within = at(WITHIN)
    assert {one.experiment for one in within} == {"autumn"}
    assert {one.arm for one in within} == {Arm.BASE, Arm.SOFT, Arm.HISTORY}
    assert within == at(experiments[0].start) == at(experiments[0].end - timedelta(milliseconds=1))
    assert at(experiments[0].end) == at(AFTER)


def test_arms_that_may_come_are_known_before_they_do(tmp_path: Path) -> None:
    assigner = ArmAssigner("default", {Arm.SOFT: 1.0, Arm.BASE: 0.0}, loaded(tmp_path, AUTUMN), lambda: BEFORE)
    assert assigner.arms_now == {Arm.SOFT}
    assert assigner.arms == {Arm.SOFT, Arm.BASE, Arm.HISTORY}


def test_the_digest_is_of_all_but_the_end(tmp_path: Path) -> None:
    (autumn,) = loaded(tmp_path, AUTUMN)

    def digest(was: str, now: str) -> str:
        return loaded(tmp_path, AUTUMN.replace(was, now))[0].digest

    assert digest("end = 2026-12-15", "# a remark\nend = 2026-12-14") == autumn.digest
    assert digest("2026-12-01T00:00:00Z", "2026-12-01T01:00:00+01:00") == autumn.digest
    changed = [digest("soft = 2", "soft = 3"), digest("history", "persona"), digest("2026-12-01T00", "2026-12-01T01")]
    assert len({autumn.digest, *changed}) == 4
