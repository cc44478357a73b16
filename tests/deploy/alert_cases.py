"""Makes files for `promtool test rules` of chart_alerts.yaml, which says what each alert makes of which series."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

CASES: Sequence[Mapping[str, Any]] = yaml.safe_load((Path(__file__).parent / "chart_alerts.yaml").read_text())
PODS = {"a": "turnout-6d5f-abcde", "b": "turnout-6d5f-fghij"}

Rules = Mapping[str, Mapping[str, Any]]
"""The rules of a release by the names of their alerts."""


def test_files(rules: Rules) -> dict[str, dict[str, Any]]:
    """Returns the files by name: one for each interval, since promtool evaluates all of a file as often."""
    files: dict[str, dict[str, Any]] = {}
    for case in CASES:
        every = case.get("every", "1m")
        file = files.setdefault(
            f"cases-{every}.yaml", {"rule_files": ["rules.yaml"], "evaluation_interval": every, "tests": []}
        )
        file["tests"].append(
            {
                "name": case["name"],
                "interval": every,
                "input_series": [
                    {"series": _series(name), "values": _values(str(values))} for name, values in case["series"].items()
                ],
                "alert_rule_test": list(_asked(case, rules)),
            }
        )
    return files


test_files.__test__ = False  # type: ignore[attr-defined]  # its name is promtool's word


def told() -> Iterator[tuple[str, str, bool]]:
    """Yields of each look at an alert: the case, the alert, whether it fires; in the order of time within a case."""
    for case in CASES:
        for asked in case.get("alerts", ()):
            yield case["name"], asked["alert"], bool(_fires(asked))


def _fires(asked: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return asked.get("fires") or ([asked] if "summary" in asked else [])


def _asked(case: Mapping[str, Any], rules: Rules) -> Iterator[dict[str, Any]]:
    for asked in case.get("alerts", ()):
        rule = rules[asked["alert"]]
        yield {
            "eval_time": asked["at"],
            "alertname": asked["alert"],
            "exp_alerts": [
                {
                    "exp_labels": {**rule["labels"], **each.get("labels", {})},
                    "exp_annotations": {**rule["annotations"], "summary": each["summary"]},
                }
                for each in _fires(asked)
            ],
        }
    if "none_at" in case:
        yield from ({"eval_time": case["none_at"], "alertname": name, "exp_alerts": []} for name in rules)


def _series(written: str) -> str:
    pod, _, rest = written.partition(" ")
    if not rest:
        return written
    name, _, labels = rest.partition("{")
    labels = labels.removesuffix("}")
    return f'{name}{{namespace="llm",pod="{PODS[pod]}"{"," if labels else ""}{labels}}}'


def _values(written: str) -> str:
    """Returns values as promtool takes them. `5x3` is there `5 5 5 5`: here it is three of them, as one would think."""
    if not written.startswith("~"):
        return " ".join(value for part in written.split() for value in _repeated(part))
    total, values = 0.0, ["0"]
    for part in written[1:].split():
        if part == "R":
            total = 0.0
            continue
        for growth in _repeated(part):
            total += float(growth)
            values.append(f"{total:g}" if total < 1e5 else str(int(total)))
    return " ".join(values)


def _repeated(part: str) -> list[str]:
    repeated = re.fullmatch(r"(\S+?)x(\d+)", part)
    if repeated is None:
        return [part]
    value, count = repeated.groups()
    return [value] * int(count)
