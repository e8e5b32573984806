"""PromQL that more than one panel asks."""

from typing import Final

PERSONAL: Final = 'reason="personalized"'
PLAIN: Final = 'reason!="personalized"'
WINDOW: Final = "$__rate_interval"  # a minute or more: four times the data source's time interval


FIRING: Final = 'count(ALERTS{alertstate="firing"}) or vector(0)'  # no alert, no series


def rate(metric: str, labels: str = "", by: str = "") -> str:
    """How much a counter grows a second.

    Args:
        metric: the counter.
        labels: which of its series, as in PromQL.
        by: the labels to keep, comma-separated.
    """
    return f"{_sum(by)}(rate({_series(metric, labels)}[{WINDOW}]))"


def quantile(q: float, histogram: str, labels: str = "") -> str:
    """What a share `q` of the observations of the last minute stays below; NaN where there was none."""
    return f"histogram_quantile({q}, {rate(histogram + '_bucket', labels, 'le')})"


def mean(histogram: str, labels: str = "") -> str:
    """The mean of the observations of the last minute; NaN where there was none."""
    return f"{rate(histogram + '_sum', labels)} / {rate(histogram + '_count', labels)}"


def share(metric: str, labels: str, of: str = "") -> str:
    """The share of a counter's growth that the labelled series have; NaN where nothing grew."""
    return f"{rate(metric, labels)} / {rate(metric, of)}"


def age(moment: str) -> str:
    """Seconds since a moment; exactly 0 where it is 0, which says that it has not come yet."""
    return f"(time() - max({moment})) * (max({moment}) > bool 0)"


def lag(group: str) -> str:
    """How many records a consumer group is behind the end of its log."""
    return f'sum(slop:consumer_lag:records{{group="{group}"}})'


def _sum(by: str) -> str:
    return f"sum by ({by}) " if by else "sum"


def _series(metric: str, labels: str) -> str:
    return f"{metric}{{{labels}}}" if labels else metric
