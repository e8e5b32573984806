"""Panels, and queries of panels, that more than one dashboard shows."""

from typing import Final

from infra.grafana import colours
from infra.grafana.panels import AnyPanel, Query, Words, lines, number, plain
from infra.grafana.queries import PERSONAL, quantile, share

TARGET_S: Final = 1.0  # from a reaction to the profile that has learned it


def within(histogram: str) -> tuple[Query, Query]:
    """Within which time half of what a histogram counts was done, and within which 95%."""
    return (
        Query(quantile(0.5, histogram), "half within", colours.USUAL),
        Query(quantile(0.95, histogram), "95% within", colours.SLOW),
    )


def freshness(span: int, height: int) -> AnyPanel:
    """How old a reaction is when its profile has learned it, and the target."""
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


def personal_posts() -> AnyPanel:
    """The share of posts that readers' tastes wrote."""
    return number(
        Words(
            "Personal posts",
            "percentunit",
            "The share of posts that the reader's taste wrote.",
            "It falls while readers are known.",
        ),
        Query(share("slop_generated_posts_total", PERSONAL)),
        plain(colours.GENERATION),
        span=3,
        height=4,
        decimals=0,
    )


def waiting_in_kafka(*lags: Query, span: int) -> AnyPanel:
    """How far consumers are behind, a query for each."""
    return lines(
        Words(
            "Waiting in Kafka",
            "short",
            "Records that each consumer is behind the end of its log.",
            "A line that only rises.",
        ),
        *lags,
        span=span,
        height=8,
    )
