"""Panels as all dashboards draw them: one look for each kind, and one meaning for each colour.

Blue is a fact, green is well, orange wants a look, red wants somebody now. Only what has no better or worse,
as tables beside each other, has other colours, the same one for a name everywhere.
"""

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import TypeVar

from grafana_foundation_sdk.builders import common as look
from grafana_foundation_sdk.builders import dashboard as board
from grafana_foundation_sdk.builders import heatmap as heatmaps
from grafana_foundation_sdk.builders import stat as stats
from grafana_foundation_sdk.builders import statetimeline, table, timeseries
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models import common, dashboard, heatmap
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

BLUE, GREEN, ORANGE, RED, GREY = (
    "semi-dark-blue",
    "semi-dark-green",
    "semi-dark-orange",
    "semi-dark-red",
    "#808080",
)

SOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")

#: From which value on which colour holds; None is the first.
Thresholds = Sequence[tuple[float | None, str]]
FACT: Thresholds = ((None, BLUE),)
NONE_IS_WELL: Thresholds = ((None, GREEN), (1, ORANGE))

Panel = stats.Panel | timeseries.Panel | table.Panel | heatmaps.Panel | statetimeline.Panel
Drawn = TypeVar("Drawn", stats.Panel, timeseries.Panel, table.Panel, heatmaps.Panel, statetimeline.Panel)


def at_all_times(expression: str, legend: str) -> Dataquery:
    """A query over the dashboard's time."""
    return Dataquery().expr(expression).legend_format(legend).range()


def now(expression: str, legend: str) -> Dataquery:
    """A query of the last moment."""
    return Dataquery().expr(expression).legend_format(legend).instant()


def _column(expression: str) -> Dataquery:
    return Dataquery().expr(expression).format(PromQueryFormat.TABLE).instant()


def figure(
    title: str,
    description: str,
    query: Dataquery,
    *,
    unit: str,
    thresholds: Thresholds = FACT,
    width: int = 4,
    decimals: int | None = None,
    otherwise: str = "none",
) -> stats.Panel:
    """One number; `otherwise` is shown where there is none."""
    panel = _plain(stats.Panel(), title, description, [query], unit=unit, width=width, height=4)
    if decimals is not None:
        panel.decimals(decimals)
    return (
        panel.thresholds(_steps(thresholds))
        .color_mode(common.BigValueColorMode.VALUE)
        .graph_mode(common.BigValueGraphMode.NONE)
        .reduce_options(look.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        .no_value(otherwise)
    )


def word(
    title: str,
    description: str,
    query: Dataquery,
    *,
    colour: str = BLUE,
    colours: Mapping[str, str] | None = None,
    width: int = 4,
    otherwise: str = "none",
) -> stats.Panel:
    """What labels say, where a series is 1; `colours` of what it may end in."""
    panel = figure(
        title, description, query, unit="none", thresholds=((None, colour),), width=width, otherwise=otherwise
    ).text_mode(common.BigValueTextMode.NAME)
    for value, its_own in (colours or {}).items():
        panel.override_by_regexp(f"/{value}$/", [_fixed(its_own)])
    return panel


def lines(
    title: str,
    description: str,
    *queries: Dataquery,
    unit: str,
    width: int = 12,
    height: int = 8,
    colours: Mapping[str, str] | None = None,
    dashed: Sequence[str] = (),
    stacked: bool = False,
    top: float | None = None,
) -> timeseries.Panel:
    """Curves over time from zero on; `colours` by what the legend says, `dashed` those that are limits."""
    panel = (
        _plain(timeseries.Panel(), title, description, queries, unit=unit, width=width, height=height)
        .min(0)
        .color_scheme(board.FieldColor().mode(dashboard.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
        .line_width(2 if not stacked else 1)
        .fill_opacity(40 if stacked else 8)
        .show_points(common.VisibilityMode.AUTO)
        .legend(
            look.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(
            look.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
        )
    )
    if stacked:
        panel.stacking(look.StackingConfig().group("A").mode(common.StackingMode.NORMAL))
    if top is not None:
        panel.max(top)
    dash = {"fill": "dash", "dash": [8, 6]}
    for name in dict.fromkeys((*(colours or {}), *dashed)):
        properties = [_fixed(colours[name])] if colours and name in colours else []
        if name in dashed:
            properties += [
                _set("custom.lineStyle", dash),
                _set("custom.fillOpacity", 0),
                _set("custom.lineWidth", 1),
            ]
        panel.override_by_name(name, properties)
    return panel


def against(
    title: str,
    description: str,
    *,
    value: str,
    limit: str,
    stop: str,
    unit: str,
    width: int = 8,
    height: int = 6,
) -> timeseries.Panel:
    """A value with its limit and its stop."""
    return lines(
        title,
        description,
        at_all_times(value, "value"),
        at_all_times(limit, "limit"),
        at_all_times(stop, "stop"),
        unit=unit,
        width=width,
        height=height,
        colours={"value": BLUE, "limit": ORANGE, "stop": RED},
        dashed=("limit", "stop"),
    )


def times(title: str, description: str, buckets: str, *, width: int = 12) -> heatmaps.Panel:
    """How often something took how long."""
    query = Dataquery().expr(buckets).legend_format("{{le}}").format(PromQueryFormat.HEATMAP).range()
    return (
        _plain(heatmaps.Panel(), title, description, [query], unit="s", width=width, height=8)
        .calculate(False)
        .cell_gap(1)
        .color(
            heatmaps.HeatmapColorOptions()
            .mode(heatmap.HeatmapColorMode.SCHEME)
            .scheme("Blues")
            .steps(32)
            .reverse(False)
        )
        .cell_values(heatmaps.CellValues().unit("cps"))
        .y_axis(heatmaps.YAxisConfig().unit("s").axis_placement(common.AxisPlacement.LEFT))
        .tooltip(
            heatmaps.HeatmapTooltip()
            .mode(common.TooltipDisplayMode.SINGLE)
            .y_histogram(True)
            .show_color_scale(False)
        )
        .show_legend()
    )


def timeline(
    title: str,
    description: str,
    *queries: Dataquery,
    words: Mapping[int, tuple[str, str]],
    order: Sequence[str] = (),
    width: int = 24,
    height: int = 8,
) -> statetimeline.Panel:
    """What state things were in; `words` says for each code what it is called and its colour.

    `order` is that of the rows, by what the legend says; without it they go by the alphabet.
    """
    panel = (
        _plain(statetimeline.Panel(), title, description, queries, unit="none", width=width, height=height)
        .mappings([_words(words)])
        .color_scheme(board.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
        .thresholds(_steps(((None, GREY),)))
        .merge_values(True)
        .show_value(common.VisibilityMode.AUTO)
        .row_height(0.8)
        .fill_opacity(80)
        .legend(
            look.VizLegendOptions()
            .show_legend(False)
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
        )
    )
    if order:
        # Columns of one frame can be put in order, frames can't.
        panel.with_transformation(
            dashboard.DataTransformerConfig(
                id_val="joinByField", options={"byField": "Time", "mode": "outer"}
            )
        )
        panel.with_transformation(
            dashboard.DataTransformerConfig(
                id_val="organize",
                options={"indexByName": {name: place for place, name in enumerate(("Time", *order))}},
            )
        )
    return panel


def columns(
    title: str,
    description: str,
    by: str,
    found: Mapping[str, tuple[str, str]],
    *,
    sorted_by: str,
    bars: Mapping[str, Thresholds] | None = None,
    width: int = 24,
    height: int = 8,
) -> table.Panel:
    """A table with a row for each value of the label `by`, the largest of a column first.

    `found` says for each column its query and its unit; `bars` which of them are bars, up to 1.
    """
    panel = _plain(
        table.Panel(),
        title,
        description,
        [_column(query) for query, _ in found.values()],
        unit="none",
        width=width,
        height=height,
    )
    panel.with_transformation(dashboard.DataTransformerConfig(id_val="merge", options={}))
    # Of a single query the column is called Value, of several Value #A, Value #B …
    names = [f"Value #{letter}" for letter in ascii_uppercase] if len(found) > 1 else ["Value"]
    named = dict(zip(names, found, strict=False))
    panel.with_transformation(
        dashboard.DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": {"Time": True},
                "indexByName": {each: place for place, each in enumerate((by, *named))},
                "renameByName": {by: by.capitalize(), **named},
            },
        )
    )
    for name, (_, unit) in found.items():
        properties = [_set("unit", unit)]
        if bars and name in bars:
            properties += [
                _set("custom.cellOptions", {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}),
                _set("min", 0),
                _set("max", 1),
                _set("thresholds", _steps(bars[name]).build()),
                _set("color", {"mode": "thresholds"}),
            ]
        panel.override_by_name(name, properties)
    return panel.sort_by([look.TableSortByFieldState().display_name(sorted_by).desc(True)])


def more_in(panel: Drawn, alert: str) -> Drawn:
    """Give a panel a link to what the runbook says of an alert."""
    link = (
        board.DashboardLink(f"What to do: {alert}")
        .type(dashboard.DashboardLinkType.LINK)
        .url(f"${{runbook}}#{alert.lower()}")
        .target_blank(True)
        .placement("")
    )
    panel.links([link])
    return panel


def _plain(
    panel: Drawn,
    title: str,
    description: str,
    queries: Sequence[Dataquery],
    *,
    unit: str,
    width: int,
    height: int,
) -> Drawn:
    panel.title(title).description(description).datasource(SOURCE).unit(unit).span(width).height(height)
    for letter, query in zip(ascii_uppercase, queries, strict=False):
        panel.with_target(query.ref_id(letter).datasource(SOURCE))
    return panel


def _steps(thresholds: Thresholds) -> board.ThresholdsConfig:
    return (
        board.ThresholdsConfig()
        .mode(dashboard.ThresholdsMode.ABSOLUTE)
        .steps([dashboard.Threshold(value=value, color=colour) for value, colour in thresholds])
    )


def _words(words: Mapping[int, tuple[str, str]]) -> dashboard.ValueMap:
    return dashboard.ValueMap(
        options={
            str(code): dashboard.ValueMappingResult(text=text, color=colour, index=place)
            for place, (code, (text, colour)) in enumerate(words.items())
        }
    )


def _set(what: str, value: object) -> DynamicConfigValue:
    return DynamicConfigValue(id_val=what, value=value)


def _fixed(colour: str) -> DynamicConfigValue:
    return _set("color", {"mode": "fixed", "fixedColor": colour})
