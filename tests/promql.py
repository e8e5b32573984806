"""The queries that dashboards and rules ask, and the metrics that they name."""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from infra.grafana.build import FOLDER
from infra.local.settings import ROOT

RULES = ROOT / "infra" / "prometheus" / "rules"
# Of an exporter that the local run has not, and of brokers that tell of their disks, as its own by default does not.
BY_CONTAINERS_ONLY = frozenset({"kafka_consumergroup_lag", "slop_kafka_disk_bytes"})
_NOT_NAMES = re.compile(r'"[^"]*"|\{[^}]*\}|\[[^]]*\]|\b(?:by|without|on|ignoring|group_left)\s*\([^)]*\)')
_NAME = re.compile(r"\b[a-zA-Z_:][\w:]*\b(?!\s*\()")
_WORDS = {"or", "and", "unless", "bool", "offset", "by", "without"}


class PanelQuery(NamedTuple):
    """A query, and where it is asked."""

    dashboard: str
    panel: str
    ref_id: str
    expr: str

    def __str__(self) -> str:
        return f"{self.dashboard}: {self.panel} ({self.ref_id})"


def dashboards() -> dict[str, dict[str, Any]]:
    """The committed dashboards, by file name without its ending."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    """All panels but headings, each with its dashboard's name."""
    for name, dashboard in dashboards().items():
        yield from ((name, panel) for panel in dashboard["panels"] if panel["type"] != "row")


def panel_queries() -> list[PanelQuery]:
    """What all panels ask, with a minute for Grafana's own window."""
    return [
        PanelQuery(name, panel["title"], target["refId"], target["expr"].replace("$__rate_interval", "1m"))
        for name, panel in panels()
        for target in panel.get("targets", ())
    ]


def rules(kind: str) -> list[dict[str, Any]]:
    """The rules of a kind, `record` or `alert`."""
    groups = [group for path in sorted(RULES.glob("*.yml")) for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


def metrics_in(expr: str) -> set[str]:
    """The metrics and recorded series that an expression names."""
    return set(_NAME.findall(_NOT_NAMES.sub(" ", expr))) - _WORDS
