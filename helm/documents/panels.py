"""Makes Grafana's panels from a short description of each: what is shown, in which unit, and when it looks bad.

The model is that of Grafana 11.0, which later ones take as it is. Names of fields are Grafana's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
PLUGIN_VERSION = "11.0.0"
"""Without it Grafana takes a panel for one of its first versions, and migrates it."""
COLUMNS = 24
"""Width of a dashboard."""

SELECTOR = 'namespace=~"$namespace",job=~"$job",pod=~"$pod",instance=~"$instance"'
CALLS = 'rpc_method=~"turnout.v1.RouterService/(Execute|ExecuteStream|Route)"'
"""Calls that somebody waits for; RPCs that report, list or watch are left out."""

Json = dict[str, Any]


class DashboardError(Exception):
    """A dashboard cannot be made; the message names it, the panel and what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One expression. `SELECT` in it stands for the dashboard's choice of Pods, `CALLS` for RPCs that are calls."""

    expr: str
    legend: str = ""

    @property
    def promql(self) -> str:
        """The expression as Grafana gets it: `$…` are its variables."""
        text = " ".join(self.expr.split())
        return text.replace("SELECT", SELECTOR).replace("CALLS", CALLS).replace("[RATE]", "[$__rate_interval]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """What is written of a panel. `limits` are colours by the value they begin at, the first from the lowest on."""

    title: str
    kind: str
    unit: str
    description: str
    queries: tuple[Query, ...]
    width: int
    height: int = 8
    limits: Mapping[str, float | None] = field(default_factory=dict)
    minimum: float | None = 0.0
    maximum: float | None = None
    decimals: int | None = None
    stack: str = "none"
    """Whether curves lie on top of each other: none, normal or percent."""
    states: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """Of a state timeline: text and colour of each value."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Of a table: labels that are shown, with their titles, in order."""


def read_panel(where: str, written: Mapping[str, Any]) -> Panel:
    """Returns a panel. Raises DashboardError, which begins with `where`, for a field that is unknown or missing."""
    try:
        queries = tuple(Query(**query) for query in written["queries"])
        panel = Panel(**{**written, "queries": queries})
    except (KeyError, TypeError) as error:
        raise DashboardError(f"{where}: {error}") from None
    if panel.kind not in _KINDS:
        raise DashboardError(f"{where}: the kind {panel.kind!r} is none of {', '.join(_KINDS)}")
    if not panel.queries or not panel.description.strip():
        raise DashboardError(f"{where}: needs a description and at least one query")
    return panel


def panel_json(panel: Panel, number: int, x: int, y: int) -> Json:
    """Returns a panel as Grafana has it, with its left upper corner at x and y in units of the grid."""
    made = _KINDS[panel.kind](panel)
    instant = panel.kind in {"table", "bargauge"} or any("$__range" in query.expr for query in panel.queries)
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": " ".join(panel.description.split()),
        "datasource": DATA_SOURCE,
        "gridPos": {"h": panel.height, "w": panel.width, "x": x, "y": y},
        "pluginVersion": PLUGIN_VERSION,
        "fieldConfig": {
            "defaults": _defaults(panel) | made.pop("defaults", {}),
            "overrides": made.pop("overrides", []),
        },
        **made,
        "targets": list(_targets(panel, instant=instant)),
    }


def row_json(title: str, number: int, y: int) -> Json:
    """Returns the heading of a row."""
    return {
        "id": number,
        "type": "row",
        "title": title,
        "collapsed": False,
        "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": y},
        "panels": [],
    }


def _targets(panel: Panel, *, instant: bool) -> Iterator[Json]:
    for place, query in enumerate(panel.queries):
        yield {
            "refId": chr(ord("A") + place),
            "datasource": DATA_SOURCE,
            "editorMode": "code",
            "expr": query.promql,
            "legendFormat": query.legend or "__auto",
            "format": "table" if panel.kind == "table" else "time_series",
            "instant": instant,
            "range": not instant,
        }


def _defaults(panel: Panel) -> Json:
    steps = [{"color": color, "value": value} for color, value in panel.limits.items()]
    found: Json = {
        "unit": panel.unit,
        "thresholds": {"mode": "absolute", "steps": steps or [{"color": "green", "value": None}]},
        "color": {"mode": "thresholds" if panel.kind != "timeseries" else "palette-classic"},
        "noValue": "–",
    }
    for name, value in (("min", panel.minimum), ("max", panel.maximum), ("decimals", panel.decimals)):
        if value is not None:
            found[name] = value
    return found


def _stat(panel: Panel) -> Json:
    ranged = not any("$__range" in query.expr for query in panel.queries)
    return {
        "options": {
            "colorMode": "value",
            "graphMode": "area" if ranged else "none",
            "justifyMode": "auto",
            "orientation": "auto",
            "percentChangeColorMode": "standard",
            "reduceOptions": _LAST,
            "showPercentChange": False,
            "textMode": "auto",
            "wideLayout": True,
        }
    }


def _time_series(panel: Panel) -> Json:
    stacked = panel.stack != "none"
    custom = {
        "drawStyle": "line",
        "lineInterpolation": "linear",
        "lineWidth": 1,
        "fillOpacity": 30 if stacked else 8,
        "gradientMode": "none",
        "showPoints": "never",
        "spanNulls": False,
        "insertNulls": False,
        "stacking": {"mode": panel.stack, "group": "A"},
        "axisPlacement": "auto",
        "axisLabel": "",
        "scaleDistribution": {"type": "linear"},
        "thresholdsStyle": {"mode": "dashed" if len(panel.limits) > 1 else "off"},
        "hideFrom": {"legend": False, "tooltip": False, "viz": False},
    }
    return {
        "defaults": {"custom": custom},
        "options": {
            "legend": {
                "displayMode": "table",
                "placement": "bottom",
                "showLegend": True,
                "calcs": ["lastNotNull", "max"],
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }


def _state_timeline(panel: Panel) -> Json:
    options = {
        str(value): {"index": place, "text": text, "color": color}
        for place, (value, (text, color)) in enumerate(panel.states.items())
    }
    return {
        "defaults": {
            "mappings": [{"type": "value", "options": options}],
            "custom": {"fillOpacity": 80, "lineWidth": 0},
        },
        "options": {
            "alignValue": "left",
            "legend": _LEGEND | {"showLegend": True},
            "mergeValues": True,
            "rowHeight": 0.9,
            "showValue": "auto",
            "tooltip": {"mode": "single", "sort": "none"},
        },
    }


def _bar_gauge(_panel: Panel) -> Json:
    return {
        "options": {
            "displayMode": "basic",
            "legend": _LEGEND,
            "minVizHeight": 16,
            "minVizWidth": 8,
            "maxVizHeight": 40,
            "namePlacement": "left",
            "orientation": "horizontal",
            "reduceOptions": _LAST,
            "showUnfilled": True,
            "sizing": "auto",
            "valueMode": "color",
        }
    }


def _table(panel: Panel) -> Json:
    organized = {
        "id": "organize",
        "options": {
            "excludeByName": {"Time": True},
            "includeByName": {},
            "indexByName": {name: place for place, name in enumerate(panel.columns)},
            "renameByName": dict(panel.columns),
        },
    }
    # Labels are texts; only what was asked for has the unit and the colours.
    texts = [
        {"matcher": {"id": "byName", "options": title}, "properties": [{"id": "unit", "value": "string"}]}
        for name, title in panel.columns.items()
        if name != "Value"
    ]
    return {
        "defaults": {"custom": {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False}},
        "overrides": texts,
        "options": {"cellHeight": "sm", "frameIndex": 0, "showHeader": True, "sortBy": []},
        "transformations": [organized],
    }


_LAST = {"calcs": ["lastNotNull"], "fields": "", "values": False}
_LEGEND = {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []}
_KINDS: Mapping[str, Callable[[Panel], Json]] = {
    "stat": _stat,
    "timeseries": _time_series,
    "state-timeline": _state_timeline,
    "bargauge": _bar_gauge,
    "table": _table,
}
