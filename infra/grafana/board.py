"""What all dashboards have in common."""

from collections.abc import Iterable

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as model

from infra.grafana.panels import AnyPanel

TAG = "slop"


def board(name: str, title: str, description: str) -> dashboard.Dashboard:
    """An empty dashboard, linked to the others.

    Args:
        name: its uid, and its file's name.
        title: for people.
        description: the question that it answers.
    """
    others = dashboard.DashboardLink("Dashboards").type(model.DashboardLinkType.DASHBOARDS).tags([TAG])
    made = dashboard.Dashboard(title).uid(name).description(description).tags([TAG]).link(others.keep_time(True))
    return (
        made.readonly()
        .timezone("browser")
        .refresh("10s")
        .time("now-15m", "now")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
    )


def with_section(made: dashboard.Dashboard, title: str, panels: Iterable[AnyPanel]) -> dashboard.Dashboard:
    """The dashboard with more panels, under a heading."""
    return with_panels(made.with_row(dashboard.Row(title)), panels)


def with_panels(made: dashboard.Dashboard, panels: Iterable[AnyPanel]) -> dashboard.Dashboard:
    """The dashboard with more panels, from left to right."""
    for panel in panels:
        made = made.with_panel(panel)
    return made
