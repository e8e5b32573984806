"""The committed dashboards are what their code says, and each panel explains itself and asks for what there is."""

import importlib
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

from infra.grafana import build
from infra.grafana.build import FOLDER, stale
from infra.models.packages import package_folder
from tests.promql import BY_CONTAINERS_ONLY, dashboards, metrics_in, panel_queries, panels, rules

PROVISIONING = FOLDER.parent / "provisioning"
OUR_METRICS = (
    "collector.metrics",
    "generation.metrics",
    "jobs.metrics",
    "kit.health",
    "kit.request_metrics",
    "slop.kafka.consumer_metrics",
    "featurizer.metrics",
    "learner.metrics",
)
ENDINGS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count"), "info": ("_info",)}
OTHERS = BY_CONTAINERS_ONLY | {"ALERTS", "redis_commands_processed_total", "redis_memory_used_bytes"}


def our_metrics() -> set[str]:
    for module in OUR_METRICS:
        importlib.import_module(module)
    return {family.name + ending for family in REGISTRY.collect() for ending in ENDINGS[family.type]}


def engine_metrics() -> set[str]:
    """What vLLM's code declares; a counter is exported with another ending than it is declared with."""
    folder = package_folder("vllm") / "v1" / "metrics"
    declared = {
        name
        for path in folder.glob("*.py")
        for name in re.findall(r'name="(vllm:\w+)"', path.read_text(encoding="utf-8"))
    }
    return {name + ending for name in declared for endings in ENDINGS.values() for ending in endings}


def test_the_committed_dashboards_are_what_the_code_says() -> None:
    assert stale() == []


def test_a_dashboard_that_was_changed_by_hand_is_found_and_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "FOLDER", tmp_path)
    monkeypatch.setattr("sys.argv", ["build"])
    build.main()
    changed, unknown = tmp_path / "loop.json", tmp_path / "unknown.json"
    changed.write_text(changed.read_text().replace("Reactions", "Clicks"))
    unknown.write_text("{}")
    assert stale() == [changed, unknown]
    build.main()
    assert stale() == []
    assert not unknown.exists()


def test_every_panel_has_a_title_a_unit_and_a_description_that_says_what_is_bad() -> None:
    for name, panel in panels():
        assert panel["title"], name
        if panel["type"] == "text":
            assert panel["options"]["content"], panel["title"]
        else:
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
            assert re.fullmatch(r"[^\n]+\.\n\n\*\*Bad:\*\* [^\n]+\.", panel["description"]), panel["title"]


def test_titles_uids_and_numbers_of_panels_are_unique() -> None:
    assert len({dashboard["uid"] for dashboard in dashboards().values()}) == len(dashboards())
    for name, dashboard in dashboards().items():
        for key in ("title", "id"):
            assert max(Counter(panel[key] for panel in dashboard["panels"]).values()) == 1, name


def test_no_panel_lies_on_another_or_beyond_the_grid() -> None:
    for name, dashboard in dashboards().items():
        cells = Counter(cell for panel in dashboard["panels"] for cell in _cells(panel["gridPos"]))
        assert max(cells.values()) == 1, name
        assert max(x for x, _ in cells) < 24, name


def _cells(place: dict[str, int]) -> list[tuple[int, int]]:
    columns = range(place["x"], place["x"] + place["w"])
    return [(x, y) for x in columns for y in range(place["y"], place["y"] + place["h"])]


def test_every_metric_of_a_panel_or_rule_is_exported_or_recorded() -> None:
    known = our_metrics() | engine_metrics() | OTHERS | {rule["record"] for rule in rules("record")}
    assert len(panel_queries()) > len(dashboards())
    for query in panel_queries():
        assert metrics_in(query.expr) <= known, query


def test_names_are_read_from_queries() -> None:
    expr = 'sum by (le) (rate(a_bucket{job="b", c=~"d|e"}[1m])) / (time() - max(slop:x:y > bool 0)) or vector(0)'
    assert metrics_in(expr) == {"a_bucket", "slop:x:y"}


def test_the_data_source_is_the_one_that_panels_name() -> None:
    (source,) = _read("datasources/prometheus.yml")["datasources"]
    assert {panel["datasource"]["uid"] for _, panel in panels() if "targets" in panel} == {source["uid"]}


def _read(path: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((PROVISIONING / path).read_text())
    return document
