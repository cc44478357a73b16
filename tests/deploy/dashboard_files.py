"""Reads the chart's dashboards as Grafana would, and takes their PromQL apart as far as a test of it needs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.deploy.helm_chart import CHART
from turnout_server.telemetry.metrics.instruments import (
    INSTRUMENTS,
    Instrument,
    Kind,
    Profile,
    prometheus_label,
)

NAMES = ("fleet", "provider", "cost", "decisions")
SCRAPED_LABELS = frozenset({"namespace", "job", "pod", "instance"})
"""Labels that Prometheus adds to whatever it scrapes, in a cluster."""

_SUFFIXES = {Kind.COUNTER: ("_total",), Kind.GAUGE: ("",), Kind.HISTOGRAM: ("_bucket", "_sum", "_count")}
SERIES: Mapping[str, Instrument] = {
    f"{each.prometheus_name}{suffix}": each for each in INSTRUMENTS for suffix in _SUFFIXES[each.kind]
}
"""Every series that there is on the page, and what it is of."""

_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}")
_MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"((?:[^"\\]|\\.)*)"')
_GROUPING = re.compile(r"\b(?:by|on|group_left)\s*\(([^)]*)\)")
_MADE = re.compile(r'label_replace\(.*?, "(\w+)", "\$1", "(\w+)", ')
_FUNCTIONS = frozenset(
    {"sum", "avg", "min", "max", "count", "topk", "sort_desc", "rate", "increase", "changes"}
    | {"histogram_quantile", "label_replace", "clamp_min", "time", "or", "and"}
)


class UnknownPromqlError(Exception):
    """An expression uses a word that is neither a selector nor a function known here."""


@dataclass(frozen=True)
class Selected:
    """One selector: a series, and what its labels are held to."""

    series: str
    matchers: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Expression:
    """An expression in parts. `grouping` has the labels that it sums or joins by, `made` those it makes."""

    text: str
    selected: tuple[Selected, ...]
    grouping: frozenset[str]
    made: Mapping[str, str]

    @property
    def in_rates(self) -> set[str]:
        """The series that stand in rate() or increase()."""
        return set(re.findall(r"\b(?:rate|increase)\((\w+)\{", self.text))

    @property
    def labels(self) -> set[str]:
        """All labels that it names, of matchers, groupings and what it makes others of."""
        return (
            {label for each in self.selected for label, _, _ in each.matchers} | self.grouping | set(self.made.values())
        )


def apart(text: str) -> Expression:
    """Returns an expression in its parts. Raises UnknownPromqlError for what is not understood."""
    selected = tuple(
        Selected(series=name, matchers=tuple(_MATCHER.findall(inside))) for name, inside in _SELECTOR.findall(text)
    )
    made = dict(_MADE.findall(text))
    rest = re.sub(r'"(?:[^"\\]|\\.)*"|\[[^\]]*\]', " ", _SELECTOR.sub(" ", text))
    grouping = {label.strip() for inside in _GROUPING.findall(rest) for label in inside.split(",")}
    words = set(re.findall(r"\b[a-zA-Z_:][\w:]*", _GROUPING.sub(" ", rest)))
    if words - _FUNCTIONS:
        raise UnknownPromqlError(f"{', '.join(sorted(words - _FUNCTIONS))} in {text}")
    return Expression(text=text, selected=selected, grouping=frozenset(grouping), made=made)


def dashboard(name: str) -> dict[str, Any]:
    """One dashboard, as the chart has it."""
    found: dict[str, Any] = json.loads((CHART / "files/dashboards" / f"{name}.json").read_text())
    return found


def panels(name: str) -> list[dict[str, Any]]:
    """Its panels without the headings of rows."""
    return [panel for panel in dashboard(name)["panels"] if panel["type"] != "row"]


def queries() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """All queries of panels: dashboard, panel, query."""
    for name in NAMES:
        for panel in panels(name):
            for target in panel["targets"]:
                yield name, panel, target


def other_queries() -> Iterator[tuple[str, str]]:
    """What fills the choices and the vertical lines: a name for it, and the selector or expression."""
    for name in NAMES:
        whole = dashboard(name)
        for variable in whole["templating"]["list"]:
            if variable["type"] == "query":
                found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
                assert found is not None, variable
                series = found[1] if "{" in found[1] else f"{found[1]}{{}}"
                yield f"{name}: ${variable['name']}", f"count by ({found[2]}) ({series})"
        for annotation in whole["annotations"]["list"]:
            if "expr" in annotation:
                yield f"{name}: {annotation['name']}", annotation["expr"]


def everything() -> Iterator[tuple[str, str]]:
    """All expressions there are, each with a name for it."""
    for name, panel, target in queries():
        yield f"{name}: {panel['title']} {target['refId']}", target["expr"]
    yield from other_queries()


def filled_in(text: str, choices: Mapping[str, str] = {}, *, rate: str = "5m", time_range: str = "1h") -> str:
    """An expression as Grafana sends it; a choice that is not given stands at All, which takes everything here."""
    text = text.replace("$__rate_interval", rate).replace("$__range", time_range)
    # "$1" is label_replace's own.
    return re.sub(r"\$([a-z]+)", lambda found: choices.get(found[1], ".*"), text)


def labels_of(series: str, profile: Profile = Profile.FULL) -> set[str]:
    """The labels of a series, with those of scraping."""
    own = {prometheus_label(label) for label in SERIES[series].labels_in(profile)}
    return own | SCRAPED_LABELS | ({"le"} if series.endswith("_bucket") else set())
