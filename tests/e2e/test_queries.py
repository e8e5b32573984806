"""Every query of every panel and every rule, asked of a real Prometheus that watches the running stack."""

from collections.abc import Iterator
from typing import Any

import pytest

from infra.local.up import LocalStack
from tests.monitoring import Prometheus
from tests.promql import BY_CONTAINERS_ONLY, PanelQuery, metrics_in, panel_queries, rules
from tests.traffic import traffic
from tests.waiting import eventually


@pytest.fixture(scope="module", autouse=True)
def readers(stack: LocalStack, prometheus: Prometheus) -> Iterator[None]:
    """Readers at work, seen by Prometheus for long enough that rates are known."""
    with traffic(stack):
        eventually(lambda: any(prometheus.values("rate(slop_learner_signals_total[1m])")))
        yield


def test_every_part_is_watched(prometheus: Prometheus) -> None:
    assert {job for job, health in prometheus.targets().items() if health != "up"} == set()


@pytest.mark.parametrize(
    "query", [query for query in panel_queries() if not metrics_in(query.expr) & BY_CONTAINERS_ONLY], ids=str
)
def test_a_query_of_a_panel_has_data(prometheus: Prometheus, query: PanelQuery) -> None:
    assert eventually(lambda: prometheus.values(query.expr))


@pytest.mark.parametrize("rule", rules("record"), ids=lambda rule: rule["record"])
def test_a_recorded_series_has_data(prometheus: Prometheus, rule: dict[str, Any]) -> None:
    assert eventually(lambda: prometheus.values(rule["record"]))


@pytest.mark.parametrize("rule", rules("alert"), ids=lambda rule: rule["alert"])
def test_what_an_alert_compares_has_data(prometheus: Prometheus, rule: dict[str, Any]) -> None:
    for metric in metrics_in(rule["expr"]) - BY_CONTAINERS_ONLY:
        assert eventually(lambda name=metric: prometheus.values(name)), metric


def test_every_rule_is_evaluated_without_an_error(prometheus: Prometheus) -> None:
    loaded = prometheus.rules()
    assert len(loaded) == len(rules("record")) + len(rules("alert"))
    assert {rule["name"]: rule.get("lastError") for rule in loaded if rule["health"] != "ok"} == {}
