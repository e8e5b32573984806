"""docs/settings.md: what the code would write, of all settings, each with a description."""

import inspect
import re
from collections import defaultdict
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from infra.local.settings import ROOT
from infra.settings_reference import MARK, OTHERS, PAGE, SECTIONS, SERVICES, default, readers, tables, values, variable

CLASSES = [one for some in SECTIONS.values() for one in some]
# The local run has a default of its own for this, and tells its processes.
DIFFERS = {"SLOP_EMBEDDER"}
CLASS = re.compile(r"^class (\w*Settings)\(\w*Settings", flags=re.M)


def own(settings: type[BaseSettings]) -> list[str]:
    return [name for name in inspect.get_annotations(settings) if name in settings.model_fields]


def test_the_page_is_what_the_code_would_write() -> None:
    assert PAGE.read_text().partition(MARK)[2] == tables(), "run make docs"


@pytest.mark.parametrize("settings", CLASSES, ids=lambda settings: settings.__name__)
def test_every_setting_has_a_description(settings: type[BaseSettings]) -> None:
    assert [name for name in own(settings) if not settings.model_fields[name].description] == []


def test_every_class_of_settings_has_a_table() -> None:
    found = {
        (path.relative_to(ROOT).as_posix(), name)
        for folder in ("services", "infra", "loadtests")
        for path in (ROOT / folder).rglob("*.py")
        for name in CLASS.findall(path.read_text())
    }
    documented = {(Path(inspect.getfile(one)).relative_to(ROOT).as_posix(), one.__name__) for one in CLASSES}
    assert found == documented


def test_every_variable_of_every_process_is_on_the_page_once() -> None:
    read = {variable(settings, name) for settings in (SERVICES | OTHERS).values() for name in settings.model_fields}
    listed = re.findall(r"^\| `(\w+)` \|", tables(), flags=re.M)
    assert sorted(listed) == sorted(read)


def test_a_variable_has_the_same_default_wherever_it_is_read() -> None:
    defaults = defaultdict[str, set[str]](set)
    for settings in CLASSES:
        for name in own(settings):
            defaults[variable(settings, name)].add(default(settings, name))
    assert {env for env, some in defaults.items() if len(some) > 1} == DIFFERS


@pytest.mark.parametrize("page", [".env.example", "docs/operations.md", "docs/settings.md"])
def test_a_page_names_no_variable_that_nobody_reads(page: str) -> None:
    read = set(re.findall(r"^\| `(\w+)` \|", tables(), flags=re.M))
    of_compose = set(re.findall(r"\$\{(\w+)", (ROOT / "compose.yaml").read_text()))
    named = set(re.findall(r"\bSLOP_\w*[A-Z]\b", (ROOT / page).read_text()))
    assert sorted(named - read - of_compose) == []


def test_nothing_of_this_machine_is_on_the_page() -> None:
    assert str(Path.home()) not in PAGE.read_text()
    assert str(ROOT) not in PAGE.read_text()


@pytest.mark.parametrize(
    ("process", "name", "expected"),
    [
        ("collector", "collector_port", ("SLOP_COLLECTOR_PORT", "`8001`")),
        ("local run", "kafka_home", ("KAFKA_HOME", "")),
        ("local run", "basis_dir", ("SLOP_BASIS_DIR", "`services/slop/bases/smollm2-135m-instruct`")),
        ("model", "cache_dir", ("SLOP_CACHE_DIR", "`~/.cache/slop`")),
        ("load test", "scenario", ("SCENARIO", "`readers`")),
        ("faults", "rounds", ("ROUNDS", "`20`")),
        ("faults", "load_s", ("SLOP_FAULTS_LOAD_S", "`2`")),
        ("featurizer", "embedder", ("SLOP_EMBEDDER", "required")),
        ("featurizer", "reward_weights", ("SLOP_REWARD_WEIGHTS", "`{}`")),
    ],
)
def test_variables_and_defaults_are_as_one_would_write_them(process: str, name: str, expected: tuple[str, str]) -> None:
    settings = (SERVICES | OTHERS)[process]
    assert (variable(settings, name), default(settings, name)) == expected


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 65_535}, "whole number from 1 up to 65,535"),
        ({"type": "number", "exclusiveMinimum": 0}, "number above 0"),
        ({"type": "number", "minimum": 0, "exclusiveMaximum": 1}, "number from 0 below 1"),
        ({"anyOf": [{"type": "string", "format": "path"}, {"type": "null"}]}, "path"),
        ({"type": "string", "pattern": "^(a|b)$"}, "`^(a\\|b)$`"),
        ({"type": "string", "enum": ["a", "b"]}, "`a`, `b`"),
        ({"type": "boolean"}, "true or false"),
    ],
)
def test_bounds_are_told_in_words(schema: dict[str, object], expected: str) -> None:
    assert values(schema) == expected


def test_who_reads_a_variable_is_told() -> None:
    assert readers("SLOP_COLLECTOR_PORT") == "collector, local run, smoke, load test"
    assert readers("SLOP_TENANT").startswith("all services, ")
