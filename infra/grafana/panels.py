"""The look of every panel: what a person needs to read one is asked for here, so that none comes without it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from string import ascii_uppercase
from typing import Final, NamedTuple, TypeVar

from grafana_foundation_sdk.builders import barchart, bargauge, common, dashboard, prometheus, stat, text, timeseries
from grafana_foundation_sdk.models import common as look
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import prometheus as promql
from grafana_foundation_sdk.models import text as text_model

from infra.grafana.colours import AMBER, GREEN, GREY, RED

SOURCE: Final = model.DataSourceRef(type_val="prometheus", uid="prometheus")

TOKENS_PER_S: Final = "suffix:tokens/s"
PER_S: Final = "suffix:/s"  # Grafana's own units of a rate call everything a request
NONE_YET: Final = {"0": ("none yet", GREY)}

AnyPanel = stat.Panel | timeseries.Panel | bargauge.Panel | barchart.Panel | text.Panel
Steps = Sequence[tuple[float | None, str]]
_Data = TypeVar("_Data", stat.Panel, timeseries.Panel, bargauge.Panel, barchart.Panel)
_Legend = TypeVar("_Legend", timeseries.Panel, barchart.Panel)


class Query(NamedTuple):
    """One question to Prometheus.

    Attributes:
        expr: PromQL.
        legend: what its series are called, labels as in `{{arm}}`.
        colour: of its only series; by default the panel's.
    """

    expr: str
    legend: str = ""
    colour: str | None = None


class Words(NamedTuple):
    """What every panel says of itself.

    Attributes:
        title: what is shown.
        unit: Grafana's name of the unit.
        tells: what it tells, a sentence.
        bad: what would be bad, a sentence.
    """

    title: str
    unit: str
    tells: str
    bad: str


def rising(warn: float, bad: float) -> Steps:
    """Green, amber from `warn`, red from `bad`: the more, the worse."""
    return (None, GREEN), (warn, AMBER), (bad, RED)


def falling(bad: float, warn: float) -> Steps:
    """Red, amber from `bad`, green from `warn`: the less, the worse."""
    return (None, RED), (bad, AMBER), (warn, GREEN)


def plain(colour: str) -> Steps:
    """One colour, where no value is bad in itself."""
    return ((None, colour),)


def note(title: str, markdown: str, description: str, *, span: int, height: int) -> text.Panel:
    """Words on the dashboard itself."""
    panel = text.Panel().title(title).description(description).transparent(True)
    return panel.mode(text_model.TextMode.MARKDOWN).content(markdown).span(span).height(height)


def number(
    words: Words,
    query: Query,
    steps: Steps,
    *,
    span: int,
    height: int,
    decimals: int | None = None,
    sparkline: bool = False,
    names: Mapping[str, tuple[str, str]] | None = None,
) -> stat.Panel:
    """The newest value, large.

    Args:
        words: of the panel.
        query: one series.
        steps: its colour by its value.
        span: columns of 24.
        height: rows of 38 pixels.
        decimals: how many at most; by default as many as fit.
        sparkline: whether its history shows behind it.
        names: what to say, and in which colour, instead of a value.
    """
    panel = _titled(stat.Panel(), words, span, height).with_target(_target(query, "A"))
    panel = panel.thresholds(_thresholds(steps)).mappings(_mappings(names or {}))
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    panel = panel.color_mode(look.BigValueColorMode.VALUE).justify_mode(look.BigValueJustifyMode.AUTO)
    panel = panel.graph_mode(look.BigValueGraphMode.AREA if sparkline else look.BigValueGraphMode.NONE)
    return panel if decimals is None else panel.decimals(decimals)


def lines(
    words: Words,
    *queries: Query,
    span: int,
    height: int,
    target: float | None = None,
    stacked: bool = False,
    top: float | None = None,
    colours: Mapping[str, str] | None = None,
) -> timeseries.Panel:
    """Values over time.

    Args:
        words: of the panel.
        queries: what is drawn.
        span: columns of 24.
        height: rows of 38 pixels.
        target: a dashed red line that values should stay below.
        stacked: whether the series add up to something.
        top: the axis' end, where values have one.
        colours: of series by name, where one query gives several.
    """
    panel = _titled(timeseries.Panel(), words, span, height).min(0)
    # An area without a line, so that one of no height can't be seen: a red 0 on top would look like trouble.
    panel = panel.line_width(0).fill_opacity(70) if stacked else panel.line_width(2).fill_opacity(8)
    panel = panel.show_points(look.VisibilityMode.NEVER)
    panel = _legend(panel)
    panel = panel.tooltip(_all_at_once()).span_nulls(60_000)
    for ref_id, query in _numbered(queries):
        panel = panel.with_target(_target(query, ref_id))
    panel = _coloured(panel, {q.legend: q.colour for q in queries if q.colour} | dict(colours or {}))
    if top is not None:
        panel = panel.max(top)
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(look.StackingMode.NORMAL).group("A"))
    return panel if target is None else _with_target_line(panel, target)


def ranks(words: Words, *queries: Query, span: int, height: int, colour: str) -> bargauge.Panel:
    """One horizontal bar for each query, from the top in their order."""
    panel = _titled(bargauge.Panel(), words, span, height).min(0).thresholds(_thresholds(plain(colour)))
    for ref_id, query in _numbered(queries):
        panel = panel.with_target(_target(query, ref_id).instant())
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    panel = panel.display_mode(look.BarGaugeDisplayMode.BASIC).value_mode(look.BarGaugeValueMode.TEXT)
    return panel.orientation(look.VizOrientation.HORIZONTAL).show_unfilled(True)


def bars(
    words: Words,
    *queries: Query,
    by: str,
    span: int,
    height: int,
    top: float | None = None,
    least: float | None = 0,
) -> barchart.Panel:
    """Groups of upright bars: a group for each value of the label `by`, in it a bar for each query."""
    panel = _titled(barchart.Panel(), words, span, height).x_field(by).bar_width(0.9).group_width(0.75)
    panel = panel if least is None else panel.min(least)
    panel = panel.fill_opacity(80).line_width(0).x_tick_label_rotation(0).stacking(look.StackingMode.NONE)
    panel = panel.orientation(look.VizOrientation.VERTICAL).show_value(look.VisibilityMode.AUTO)
    panel = _legend(panel).tooltip(_all_at_once())
    for ref_id, query in _numbered(queries):
        panel = panel.with_target(_target(query, ref_id).instant().format(promql.PromQueryFormat.TABLE))
    columns = "Value" if len(queries) == 1 else "Value #{}"
    renamed = {columns.format(ref): query.legend for ref, query in _numbered(queries)}
    for step in (
        model.DataTransformerConfig(id_val="merge", options={}),
        model.DataTransformerConfig(
            id_val="organize", options={"excludeByName": {"Time": True}, "indexByName": {}, "renameByName": renamed}
        ),
        model.DataTransformerConfig(id_val="sortBy", options={"fields": {}, "sort": [{"field": by}]}),
    ):
        panel = panel.with_transformation(step)
    panel = _coloured(panel, {query.legend: query.colour for query in queries if query.colour})
    return panel if top is None else panel.max(top)


def _titled(panel: _Data, words: Words, span: int, height: int) -> _Data:
    panel.title(words.title).unit(words.unit).description(f"{words.tells}\n\n**Bad:** {words.bad}")
    return panel.datasource(SOURCE).span(span).height(height)


def _numbered(queries: Iterable[Query]) -> Iterator[tuple[str, Query]]:
    return zip(ascii_uppercase, queries, strict=False)


def _target(query: Query, ref_id: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().ref_id(ref_id).expr(query.expr).legend_format(query.legend or "__auto").range()


def _legend(panel: _Legend) -> _Legend:
    legend = common.VizLegendOptions().show_legend(True).placement(look.LegendPlacement.BOTTOM)
    return panel.legend(legend.display_mode(look.LegendDisplayMode.LIST).calcs([]))


def _all_at_once() -> common.VizTooltipOptions:
    return common.VizTooltipOptions().mode(look.TooltipDisplayMode.MULTI).sort(look.SortOrder.DESCENDING)


def _coloured(panel: _Legend, colours: Mapping[str, str]) -> _Legend:
    for name, colour in colours.items():
        fixed = model.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": colour})
        panel = panel.override_by_name(name, [fixed])
    return panel


def _with_target_line(panel: timeseries.Panel, target: float) -> timeseries.Panel:
    style = common.GraphThresholdsStyleConfig().mode(look.GraphTresholdsStyleMode.DASHED)
    panel = panel.axis_soft_max(1.2 * target)
    return panel.thresholds(_thresholds([(None, "transparent"), (target, RED)])).thresholds_style(style)


def _thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    made = [model.Threshold(value, colour) for value, colour in steps]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(made)


def _mappings(names: Mapping[str, tuple[str, str]]) -> list[model.ValueMapping]:
    """Names for values; and what is not a number comes of dividing by no traffic."""
    results = {
        value: model.ValueMappingResult(text=said, color=colour, index=index)
        for index, (value, (said, colour)) in enumerate(names.items())
    }
    idle = model.ValueMappingResult(text="idle", color=GREY, index=len(names))
    nothing = model.DashboardSpecialValueMapOptions(match=model.SpecialValueMatch.NA_N, result=idle)
    special = model.SpecialValueMap(options=nothing)
    return [model.ValueMap(options=results), special] if results else [special]
