"""Reads metrics: from a service's own `/metrics`, or from the Prometheus behind Grafana."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import httpx
from prometheus_client.parser import text_string_to_metric_families

DATASOURCE: Final = "prometheus"
TIMEOUT_S: Final = 5.0


class Unreadable(Exception):  # noqa: N818
    """A source of metrics does not answer, or not with metrics."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One series' newest value."""

    labels: Mapping[str, str]
    value: float


class Source(Protocol):
    """Where series are read."""

    def read(self, name: str) -> list[Reading]:
        """All series of a name.

        Raises:
            Unreadable: nothing can be read.
        """


class OwnMetrics:
    """The `/metrics` of one service."""

    def __init__(self, base_url: str) -> None:
        self._url = f"{base_url}/metrics"

    def read(self, name: str) -> list[Reading]:
        """All series of a name; see `Source`."""
        try:
            families = list(text_string_to_metric_families(_get(self._url).text))
        except ValueError as error:
            raise Unreadable(f"{self._url} is no metrics: {error}") from error
        samples = (sample for family in families for sample in family.samples)
        return [Reading(sample.labels, sample.value) for sample in samples if sample.name == name]


class ThroughGrafana:
    """The Prometheus that Grafana's dashboards ask; it is seconds behind the services."""

    def __init__(self, base_url: str) -> None:
        self._url = f"{base_url}/{QUERY_PATH}"

    def read(self, name: str) -> list[Reading]:
        """All series of a name, or of any other query; see `Source`."""
        try:
            found = _get(self._url, {"query": name}).json()["data"]["result"]
            return [Reading(series["metric"], float(series["value"][1])) for series in found]
        except (ValueError, KeyError, TypeError) as error:
            raise Unreadable(f"{self._url} answers nothing of Prometheus': {error!r}") from error


QUERY_PATH: Final = f"api/datasources/proxy/uid/{DATASOURCE}/api/v1/query"


def _get(url: str, params: dict[str, Any] | None = None) -> httpx.Response:
    try:
        return httpx.get(url, params=params, timeout=TIMEOUT_S, trust_env=False).raise_for_status()
    except httpx.HTTPError as error:
        raise Unreadable(f"{url}: {error}") from error
