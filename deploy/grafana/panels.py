"""The few kinds of panels that our dashboards are made of, in the units that Grafana knows."""

import re

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.models.common import BigValueColorMode, BigValueGraphMode, LegendDisplayMode
from grafana_foundation_sdk.models.common import LegendPlacement, StackingMode, TooltipDisplayMode, VisibilityMode
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DataSourceRef, Threshold, ThresholdsMode
from grafana_foundation_sdk.models.dashboard import VariableRefresh

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
COLUMNS = 24


def chosen(expression):
    """With each of our metrics asked for in the namespaces that the board's variable says; without Kubernetes that is all."""

    def narrow(match):
        return f'{match[1]}{{{match[2] + ", " if match[2] else ""}namespace=~"$namespace"}}'

    return re.sub(r"((?:namespace:lckv|\blckv|\bprocess)_[\w:]+)(?:\{([^}]*)\})?", narrow, expression)


def targets(panel, queries):
    """Adds `queries`, a list of (expression, legend)."""
    for letter, (expression, legend) in zip("ABCDEFGHIJ", queries):
        query = prometheus.Dataquery().ref_id(letter).expr(chosen(expression)).legend_format(legend)
        panel = panel.with_target(query.range())
    return panel


def lines(title, unit, description, *queries, stacked=False, share=False, width=8):
    """Lines over time. `share`: the axis goes from 0 to 1."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .span(width)
        .height(8)
        .min(0)
        .line_width(1)
        .fill_opacity(25 if stacked else 5)
        .show_points(VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    if share:
        panel = panel.max(1)
    return targets(panel, queries)


def number(title, unit, description, expression, steps=(), decimals=None, width=4, nothing="No data"):
    """One number with its recent course. `steps`: (from value, color), the first from None. `nothing`: said without data."""
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .no_value(nothing)
        .span(width)
        .height(5)
        .graph_mode(BigValueGraphMode.AREA)
        .color_mode(BigValueColorMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(
            dashboard.ThresholdsConfig()
            .mode(ThresholdsMode.ABSOLUTE)
            .steps([Threshold(value=value, color=color) for value, color in steps or [(None, "green")]])
        )
    )
    if decimals is not None:
        panel = panel.decimals(decimals)
    return targets(panel, [(expression, "")])


def rate(metric, by="", selector=""):
    """How fast a counter grows, all of its series together or by a label."""
    group = f" by ({by})" if by else ""
    return f"sum{group} (rate({metric}{selector}[$__rate_interval]))"


def share(part, whole):
    return f"{part} / {whole}"


def quantiles(metric, by="", selector="", quantiles_of=(0.5, 0.95, 0.99)):
    """Queries for quantiles of a histogram, one line each (and one for each value of `by`)."""
    group = "le" + (", " + by if by else "")
    return [
        (
            f"histogram_quantile({q}, sum by ({group}) (rate({metric}_bucket{selector}[$__rate_interval])))",
            f"p{q * 100:g}" + (f" {{{{{by}}}}}" if by else ""),
        )
        for q in quantiles_of
    ]


def board(uid, title, description, rows, variables=()):
    """A dashboard; `rows`: (title, panels)."""
    result = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["lckv"])
        .editable()
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink("lckv")
            .type("dashboards")
            .tags(["lckv"])
            .as_dropdown(True)
            .keep_time(True)
            .include_vars(True)
        )
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(choice("namespace", "Namespace", "label_values(lckv_gateway_workers, namespace)"))
    )
    for variable in variables:
        result = result.with_variable(variable)
    for row_title, panels in rows:
        result = result.with_row(dashboard.Row(row_title))
        for panel in panels:
            result = result.with_panel(panel)
    return result


def instances(name, label, metric):
    """A variable: the addresses of those who have `metric`; all of them at first."""
    return choice(name, label, f"label_values({chosen(metric)}, instance)")


def choice(name, label, query):
    """A variable: some of what `query` finds; all of it at first, and what has no such label."""
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current({"text": ["All"], "value": ["$__all"]})
    )
