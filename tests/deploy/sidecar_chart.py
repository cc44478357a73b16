"""Renders what puts Turnout beside an application: the example that uses the library chart, and the two without it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.helm_chart import Helm, Manifest
from tests.tool_paths import ROOT, working

EXAMPLES = ROOT / "helm/examples"
LIBRARY = ROOT / "helm/turnout-sidecar"
VERSIONS = ("1.28.0", "1.29.0", "1.33.0", "1.36.0")
"""Before native sidecars; with them; in between; with injection."""


@dataclass(frozen=True)
class Example:
    """The chart of an application, with its dependency fetched as a user would."""

    helm: Helm
    chart: Path

    def refusal(self, values: Mapping[str, Any], *, kubernetes: str = "1.36.0") -> str:
        """What is said where values are refused; it is a failure where they are not."""
        ended = self._template(values, kubernetes)
        assert ended.returncode != 0, "the values were taken"
        return ended.stderr

    def rendered(self, values: Mapping[str, Any] | None = None, *, kubernetes: str = "1.36.0") -> list[Manifest]:
        ended = self._template(values or {}, kubernetes)
        assert ended.returncode == 0, ended.stderr
        return [each for each in yaml.safe_load_all(ended.stdout) if each]

    def _template(self, values: Mapping[str, Any], kubernetes: str) -> subprocess.CompletedProcess[str]:
        options = ("--kube-version", kubernetes, "--values", "-")
        text = yaml.safe_dump({"turnout-sidecar": dict(values)})
        return self.helm.run("template", "answers", self.chart, *options, stdin=text)


@pytest.fixture(scope="session")
def example(helm: Helm, tmp_path_factory: pytest.TempPathFactory) -> Example:
    folder = tmp_path_factory.mktemp("helm")
    for part in ("turnout-sidecar", "examples/chart"):
        shutil.copytree(ROOT / "helm" / part, folder / part, ignore=shutil.ignore_patterns("charts", "Chart.lock"))
    built = helm.run("dependency", "build", folder / "examples/chart")
    assert built.returncode == 0, built.stderr
    return Example(helm, folder / "examples/chart")


def kustomized() -> list[Manifest]:
    ended = Helm(working("kubectl", "version", "--client")).run("kustomize", EXAMPLES / "kustomize/overlay")
    assert ended.returncode == 0, ended.stderr
    return [each for each in yaml.safe_load_all(ended.stdout) if each]


def plain() -> list[Manifest]:
    return [each for each in yaml.safe_load_all((EXAMPLES / "plain/answers.yaml").read_text()) if each]


def pod_spec(manifests: Sequence[Manifest]) -> dict[str, Any]:
    (deployment,) = (each for each in manifests if each["kind"] == "Deployment")
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


def named(items: Sequence[Mapping[str, Any]] | None, name: str) -> dict[str, Any]:
    """The container, volume or variable of that name."""
    (found,) = (each for each in items or () if each["name"] == name)
    return dict(found)


def environment(container: Mapping[str, Any]) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in container.get("env") or ()}
