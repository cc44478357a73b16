"""Renders the application chart with the real helm, as an installation would."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tool_paths import ROOT, working

CHART = ROOT / "helm/turnout"
VALUES_FILES = tuple(sorted((CHART / "ci").glob("*-values.yaml")))
OLDEST_KUBERNETES, NEWEST_KUBERNETES = "1.29.0", "1.36.0"
KUBERNETES_VERSIONS = (OLDEST_KUBERNETES, "1.33.0", NEWEST_KUBERNETES)
OF_OPERATORS = "monitoring.coreos.com/v1"
"""Kinds of the Prometheus operator, which neither schemas of Kubernetes nor a bare API server know."""

Values = Mapping[str, Any]
Manifest = dict[str, Any]


@dataclass(frozen=True)
class Helm:
    path: Path

    def run(self, *arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - a tool of ours
            [self.path, *arguments], input=stdin, capture_output=True, text=True, check=False, timeout=60
        )

    def template(
        self, values: Values | Path | None = None, *, kubernetes: str = NEWEST_KUBERNETES, more: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        given = values if isinstance(values, Path) else Path("-")
        # As JSON, which is the same to everybody who reads YAML.
        text = "" if isinstance(values, Path) else json.dumps(values or {})
        options: list[str | Path] = ["--namespace", "llm", "--kube-version", kubernetes, "--values", given, *more]
        return self.run("template", "shop", CHART, *options, stdin=text)

    def rendered(self, values: Values | Path | None = None, *, kubernetes: str = NEWEST_KUBERNETES) -> list[Manifest]:
        ended = self.template(values, kubernetes=kubernetes)
        assert ended.returncode == 0, ended.stderr
        return [each for each in yaml.safe_load_all(ended.stdout) if each]

    def refusal(self, values: Values) -> str:
        """What is said where values are refused; it is a failure where they are not."""
        ended = self.template(values)
        assert ended.returncode != 0, "the values were taken"
        return ended.stderr


@pytest.fixture(scope="session")
def helm() -> Helm:
    return Helm(working("helm", "version"))


def one(manifests: Sequence[Manifest], kind: str) -> Manifest:
    (found,) = (each for each in manifests if each["kind"] == kind)
    return found


def configuration_of(manifests: Sequence[Manifest]) -> str:
    """The text of turnout.yaml."""
    (found,) = (each for each in manifests if each["kind"] == "ConfigMap" and "turnout.yaml" in each["data"])
    return str(found["data"]["turnout.yaml"])
