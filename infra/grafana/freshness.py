"""How old a reaction is when its profile has learned it, which more than one dashboard shows."""

from typing import Final

from infra.grafana import colours
from infra.grafana.panels import AnyPanel, Query, Words, lines

TARGET_S: Final = 1.0  # from a reaction to the profile that has learned it


def freshness(span: int, height: int) -> AnyPanel:
    """The panel, with the target."""
    return lines(
        Words(
            "Freshness: reaction → profile",
            "s",
            "From the collector's receipt to the profile that has learned it.",
            "Above the dashed line, the target of a second.",
        ),
        Query("slop:freshness_seconds:p50", "half within", colours.PROFILES),
        Query("slop:freshness_seconds:p95", "95% within", colours.SLOW),
        span=span,
        height=height,
        target=TARGET_S,
    )
