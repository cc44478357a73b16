"""Makes Grafana's dashboards, helm/turnout/files/dashboards/*.json, from helm/documents/dashboards/*.yaml.

Written by hand the JSON would be some 9,000 lines, nine tenths of them the same for every panel; see ADR 0047.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from helm.documents.panels import (
    COLUMNS,
    DATA_SOURCE,
    SELECTOR,
    DashboardError,
    Json,
    Panel,
    panel_json,
    read_panel,
    row_json,
)

SOURCES = Path(__file__).parent / "dashboards"
TAG = "turnout"
SCHEMA_VERSION = 39
"""That of Grafana 11.0, the oldest that is supported: a later one brings the model up to its own as it loads it."""
MARK = "<!-- panels -->"
ORDER = ("fleet", "provider", "cost", "decisions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Panels under one heading, from left to right, as many beside each other as there is room for."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A choice that a dashboard has beyond those of all: values of a label of a series."""

    name: str
    label: str
    series: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """One dashboard as it is written."""

    name: str
    title: str
    description: str
    since: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]

    @property
    def panels(self) -> Iterator[Panel]:
        """All panels in order."""
        for row in self.rows:
            yield from row.panels


COMMON_VARIABLES = (
    ("namespace", "Namespace", "turnout_build_info", ".*"),
    ("job", "Job", 'turnout_build_info{namespace=~"$namespace"}', ""),
    ("pod", "Pod", 'turnout_build_info{namespace=~"$namespace",job=~"$job"}', ".*"),
    ("instance", "Instance", 'turnout_build_info{namespace=~"$namespace",job=~"$job",pod=~"$pod"}', ".+"),
)
"""Name, title, series, and what All means. `.*` also takes series without the label, as outside of Kubernetes; of jobs
All is a list of those that there are, so that other applications' `gen_ai_…` and `rpc_…` stay out."""


def read_dashboards() -> tuple[Dashboard, ...]:
    """Returns all dashboards. Raises DashboardError where one cannot be made."""
    return tuple(read_dashboard(name, (SOURCES / f"{name}.yaml").read_text()) for name in ORDER)


def read_dashboard(name: str, text: str) -> Dashboard:
    """Returns one dashboard of its source. Raises DashboardError with the field that is wrong."""
    written = yaml.safe_load(text)
    try:
        rows = tuple(
            Row(
                title=row["title"],
                panels=tuple(read_panel(f"{name}: {panel.get('title', '?')}", panel) for panel in row["panels"]),
            )
            for row in written.pop("rows")
        )
        variables = tuple(Variable(**each) for each in written.pop("variables", ()))
        return Dashboard(name=name, rows=rows, variables=variables, **written)
    except (AttributeError, KeyError, TypeError) as error:
        raise DashboardError(f"{name}: {error}") from None


def dashboard_json(dashboard: Dashboard) -> str:
    """Returns the file."""
    made = {
        "uid": f"turnout-{dashboard.name}",
        "title": dashboard.title,
        "description": " ".join(dashboard.description.split()),
        "tags": [TAG, "llm"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": dashboard.since, "to": "now"},
        "timepicker": {},
        "timezone": "browser",
        "weekStart": "",
        "fiscalYearStartMonth": 0,
        "liveNow": False,
        "links": [_to_the_others()],
        "annotations": {"list": list(_annotations())},
        "templating": {"list": list(_variables(dashboard.variables))},
        "panels": list(_laid_out(dashboard.rows)),
    }
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def panels_table(dashboards: Sequence[Dashboard]) -> str:
    """Returns what each panel is for, as tables in Markdown."""
    lines: list[str] = []
    for dashboard in dashboards:
        lines += [f"### {dashboard.title}", "", " ".join(dashboard.description.split()), ""]
        lines += ["| panel | what it tells, and what to do |", "|---|---|"]
        lines += [f"| {panel.title} | {_cell(panel.description)} |" for panel in dashboard.panels]
        lines.append("")
    return "\n".join(lines).rstrip("\n")


def document(text: str, dashboards: Sequence[Dashboard]) -> str:
    """Returns docs/dashboards.md: the text written by hand with the tables in place of its mark.

    Links of the text lead somewhere from where it is written as well. Raises DashboardError without the mark.
    """
    if text.count(MARK) != 1:
        raise DashboardError(f"dashboards.md: needs the line {MARK} once")
    return text.replace("](../../docs/", "](").replace(MARK, panels_table(dashboards))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _laid_out(rows: Sequence[Row]) -> Iterator[Json]:
    number, y = 1, 0
    for row in rows:
        yield row_json(row.title, number, y)
        number, y = number + 1, y + 1
        x = height = 0
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, y, height = 0, y + height, 0
            yield panel_json(panel, number, x, y)
            number, x, height = number + 1, x + panel.width, max(height, panel.height)
        y += height


def _variables(more: Sequence[Variable]) -> Iterator[Json]:
    yield {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "regex": "",
        "refresh": 1,
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "options": [],
        "skipUrlSync": False,
    }
    for name, title, series, everything in COMMON_VARIABLES:
        yield _choice(name, title, f"label_values({series}, {name})", everything)
    for each in more:
        series = each.series.replace("SELECT", SELECTOR)
        yield _choice(each.name, each.title, f"label_values({series}, {each.label})", ".*")


def _choice(name: str, title: str, query: str, everything: str) -> Json:
    return {
        "name": name,
        "label": title,
        "type": "query",
        "datasource": DATA_SOURCE,
        "definition": query,
        "query": {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "regex": "",
        # When the time range changes: what ran then can be chosen then.
        "refresh": 2,
        "sort": 1,
        "hide": 0,
        "multi": True,
        "includeAll": True,
        "options": [],
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "skipUrlSync": False,
        **({"allValue": everything} if everything else {}),
    }


def _annotations() -> Iterator[Json]:
    yield {
        "builtIn": 1,
        "datasource": {"type": "grafana", "uid": "-- Grafana --"},
        "enable": True,
        "hide": True,
        "iconColor": "rgba(0, 211, 255, 1)",
        "name": "Annotations & Alerts",
        "type": "dashboard",
    }
    for name, series, color in (
        ("Starts", "turnout_start_timestamp_seconds", "purple"),
        ("Configuration taken", "turnout_config_taken_timestamp_seconds", "blue"),
    ):
        yield {
            "name": name,
            "datasource": DATA_SOURCE,
            "enable": True,
            "hide": False,
            "iconColor": color,
            "expr": f"{series}{{{SELECTOR}}} * 1000",
            "titleFormat": name,
            "textFormat": "{{pod}} {{instance}}",
            "step": "60s",
            "useValueForTime": True,
        }


def _to_the_others() -> Mapping[str, Any]:
    return {
        "title": "Turnout",
        "type": "dashboards",
        "tags": [TAG],
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
        "icon": "external link",
        "tooltip": "",
        "url": "",
    }
