"""Names of settings: they begin with their service's, and former ones are still read."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

import slop.process_logs
from generation.settings import Settings as GenerationSettings
from infra.local.settings import ROOT
from infra.settings_reference import SERVICES
from slop.process_logs import configure_process_logs
from slop.settings import CommonSettings, FormerNames

FORMER = {
    former: (settings, field)
    for settings in SERVICES.values()
    for field, about in settings.model_fields.items()
    for names in about.metadata
    if isinstance(names, FormerNames)
    for former in names.variables
}
# What each may be, neither the default.
CHOSEN: dict[Any, tuple[Any, Any]] = {int: (7, 8), float: (0.25, 0.5), str | None: ("a", "b")}
LARGE = {"generation_queue_bytes": (2**20, 2**21)}


def chosen(settings: type[CommonSettings], field: str) -> tuple[Any, Any]:
    about = settings.model_fields[field]
    if about.annotation is bool:
        return not about.default, about.default
    return LARGE.get(field) or CHOSEN[about.annotation]


def read(settings: type[CommonSettings], field: str, env_file: Path | None = None) -> object:
    return getattr(settings(_env_file=env_file), field)


@pytest.fixture(autouse=True)
def required(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SLOP_EMBEDDER", "none")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("service", ["collector", "featurizer", "learner", "generation"])
def test_a_setting_of_one_service_begins_with_its_name_or_with_what_it_is_about(service: str) -> None:
    allowed = (f"{service}_", *{"generation": ("engine_", "vllm_", "featurizer_")}.get(service, ()))
    own = set(inspect.get_annotations(SERVICES[service])) & SERVICES[service].model_fields.keys()
    chosen_by_the_product = {"reward_weights", "control_share", "arm_weights", "arm_upstreams", "experiments"}
    assert {name for name in own if not name.startswith(allowed)} <= chosen_by_the_product


def test_there_are_settings_with_former_names() -> None:
    assert {"SLOP_MAX_TOKENS", "SLOP_COLLECTOR_BODY_LIMIT", "SLOP_COMPOSE", "SLOP_FIT_BASIS_FACTORED"} <= set(FORMER)


@pytest.mark.parametrize("former", FORMER)
def test_a_former_name_is_read_and_gives_way_to_the_present_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, former: str
) -> None:
    settings, field = FORMER[former]
    one, other = chosen(settings, field)
    monkeypatch.setenv(former, str(one))
    assert read(settings, field) == one
    assert settings(_env_file=None, **{field: other}).model_dump()[field] == other
    (tmp_path / "present.env").write_text(f"SLOP_{field.upper()}={other}\n")
    assert read(settings, field, tmp_path / "present.env") == other
    monkeypatch.setenv(f"SLOP_{field.upper()}", "")
    assert read(settings, field) == one
    monkeypatch.setenv(f"SLOP_{field.upper()}", str(other))
    assert read(settings, field) == other


@pytest.mark.parametrize("former", FORMER)
def test_a_former_name_is_read_from_a_file_too(tmp_path: Path, former: str) -> None:
    settings, field = FORMER[former]
    one, _ = chosen(settings, field)
    (tmp_path / "former.env").write_text(f"{former}={one}\n")
    assert read(settings, field, tmp_path / "former.env") == one


def test_of_two_former_names_the_newer_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SLOP_COMPOSE", "true")
    (tmp_path / "newer.env").write_text("SLOP_COMPOSED_POSTS=false\n")
    assert not GenerationSettings(_env_file=tmp_path / "newer.env").generation_composed_posts


@pytest.mark.parametrize("former", FORMER)
def test_upgrading_names_it_and_other_pages_do_not(former: str) -> None:
    row = next(line for line in (ROOT / "docs/upgrade.md").read_text().splitlines() if f"`{former}`" in line)
    assert f"`SLOP_{FORMER[former][1].upper()}`" in row
    for page in (".env.example", "docs/settings.md", "docs/operations.md"):
        assert not re.search(rf"\b{former}\b", (ROOT / page).read_text())


def test_a_process_warns_once_of_the_former_names_that_it_reads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(slop.process_logs, "configure_logs", lambda *_: None)
    monkeypatch.setenv("SLOP_MAX_TOKENS", "7")
    monkeypatch.setenv("SLOP_COLLECTOR_BODY_LIMIT", "7")
    (tmp_path / ".env").write_text("SLOP_MIN_P=0.1\n")
    with capture_logs() as said:
        configure_process_logs("generation", GenerationSettings())
    assert [(line["log_level"], line["renamed"]) for line in said] == [
        ("warning", {"SLOP_MAX_TOKENS": "SLOP_GENERATION_MAX_TOKENS", "SLOP_MIN_P": "SLOP_GENERATION_MIN_P"})
    ]


def test_a_process_with_present_names_alone_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slop.process_logs, "configure_logs", lambda *_: None)
    monkeypatch.setenv("SLOP_GENERATION_MAX_TOKENS", "7")
    with capture_logs() as said:
        configure_process_logs("generation", GenerationSettings())
    assert said == []
