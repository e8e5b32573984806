"""Every panel of every dashboard, in a real Grafana, in a real browser, on the running stack.

`DASHBOARD_PICTURES=folder` keeps a picture of each dashboard there.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, sync_playwright

from infra.local.up import LocalStack
from tests.monitoring import Prometheus, chromium, grafana_server
from tests.promql import BY_CONTAINERS_ONLY, dashboards, metrics_in
from tests.traffic import traffic
from tests.waiting import PATIENCE_S, eventually

WIDTH = 1600
ROW, HEADER = 38, 80  # pixels: a row of Grafana's grid, and what is above it
ERROR = '[aria-label="Panel status"], [data-testid^="data-testid Panel status"]'  # of Grafana 10.0, and of later ones
# The panels, of those with these titles, that do not show yet: one without text of its own, or with an empty canvas.
BLANK = """titles => titles.filter(title => {
  const panel = document.querySelector(`[data-testid="data-testid Panel header ${title}"]`)
  if (!panel || panel.innerText.includes("No data")) return true
  const canvas = panel.querySelector("canvas")
  if (!canvas) return panel.innerText.trim() === title
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data
  return !pixels.some(value => value > 0)
})"""


@pytest.fixture(scope="module")
def grafana(prometheus: Prometheus, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server, url = grafana_server(tmp_path_factory.mktemp("grafana"), prometheus.url)
    server.start()
    yield url
    server.stop()


@pytest.fixture(scope="module", autouse=True)
def readers(stack: LocalStack, prometheus: Prometheus) -> Iterator[None]:
    """Readers at work, seen by Prometheus for long enough that all has been measured."""
    with traffic(stack):
        eventually(lambda: prometheus.values('slop:engagement:ratio{arm="base"}'))
        yield


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = chromium()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def complaints() -> list[str]:
    """What JavaScript said that it should not have."""
    return []


@pytest.fixture
def page(browser: Browser, complaints: list[str]) -> Iterator[Page]:
    page = browser.new_page()
    page.set_default_timeout(60_000)
    page.on("console", lambda message: complaints.extend(_complaint(message)))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    page.close()


def _complaint(message: ConsoleMessage) -> list[str]:
    return [message.text] if message.type == "error" else []


@pytest.mark.parametrize("name", dashboards())
def test_every_panel_shows_data_and_no_error(page: Page, complaints: list[str], grafana: str, name: str) -> None:
    dashboard = dashboards()[name]
    page.set_viewport_size({"width": WIDTH, "height": HEADER + ROW * _rows(dashboard)})
    page.goto(f"{grafana}/d/{dashboard['uid']}?kiosk=tv")
    shown = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    titles = [panel["title"] for panel in shown]
    of_containers = {panel["title"] for panel in shown if _is_of_containers_only(panel)}
    assert _blank(page, [title for title in titles if title not in of_containers]) == []
    _keep_picture(page, name)
    assert [title for title in titles if _panel(page, title).locator(ERROR).count()] == []
    assert complaints == []


def test_a_panel_without_data_is_found(page: Page, grafana: str) -> None:
    title = "Reactions taken"
    page.goto(f"{grafana}/d/slop-loop?from=1000&to=61000")  # in 1970
    _panel(page, title).get_by_text("No data").wait_for()
    assert page.evaluate(BLANK, [title]) == [title]


def test_the_loop_is_what_one_sees_first(page: Page, grafana: str) -> None:
    page.goto(grafana)
    assert _blank(page, ["① Browser → collector"]) == []


def _rows(dashboard: dict[str, Any]) -> int:
    """The height of a dashboard; panels out of sight would not be asked for."""
    return max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])


def _panel(page: Page, title: str) -> Locator:
    return page.get_by_test_id(f"data-testid Panel header {title}")


def _is_of_containers_only(panel: dict[str, Any]) -> bool:
    """Whether all that a panel asks is told by containers alone, so that it is empty beside the local run."""
    targets = panel.get("targets", ())
    return bool(targets) and all(metrics_in(target["expr"]) <= BY_CONTAINERS_ONLY for target in targets)


def _blank(page: Page, titles: list[str]) -> list[str]:
    """The titles of the panels that show nothing, after a while."""
    deadline = time.monotonic() + PATIENCE_S
    while (blank := page.evaluate(BLANK, titles)) and time.monotonic() < deadline:
        page.wait_for_timeout(500)
    return blank


def _keep_picture(page: Page, name: str) -> None:
    if folder := os.environ.get("DASHBOARD_PICTURES"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png")
