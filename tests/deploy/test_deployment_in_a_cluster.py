"""The sections of docs/deployment.md on clusters, command by command, before a real API server.

It has no nodes: commands that look into a running Pod are held to what the server knows of that Pod.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.document import Block, blocks
from tests.deploy.helm_chart import Helm, helm
from tests.deploy.kube_api import KubeApi, pod_of
from tests.tool_paths import ROOT

__all__ = ["helm"]  # a fixture

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

BLOCKS = blocks(ROOT / "docs/deployment.md")
IMAGE = "registry.example.com/turnout:0.1.0"
WAIT_SECONDS = 60
NEEDS_A_NODE = re.compile(r" exec | logs | rollout status |^helm test ")
LOOKS_INTO = re.compile(r"kubectl -n (\S+) (?:exec|logs|rollout status) deployment/(\S+)(?: -c (\S+))?")

Shell = Callable[[str], str]


def of(section: str, language: str) -> list[Block]:
    return [block for block in BLOCKS if (block.section, block.language) == (section, language)]


@pytest.fixture
def sh(kube_api: KubeApi, helm: Helm, tmp_path: Path) -> Shell:
    """Runs commands as in a checkout, with the helm and the kubectl of the tests and their API server."""
    shutil.copytree(ROOT / "helm", tmp_path / "helm", ignore=shutil.ignore_patterns("charts", "Chart.lock"))
    (tmp_path / "turnout.yaml").write_text(of("Process", "yaml")[0].text)
    env = {
        "PATH": f"{helm.path.parent}:{kube_api.kubectl_path.parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "KUBECONFIG": str(kube_api.kubeconfig),
        "ANTHROPIC_API_KEY": "sk-ant-a-key-of-nobody",
    }

    def run(command: str) -> str:
        ended = subprocess.run(  # noqa: S602 - the document's words
            command,
            shell=True,
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=WAIT_SECONDS,
        )
        assert 0 == ended.returncode, f"{command}: {ended.stderr}"
        return ended.stdout

    return run


def follow(section: Block, sh: Shell, kube_api: KubeApi) -> None:
    """Runs each command; of one that needs a node, looks whether what it would look into is there."""
    for command in section.commands:
        if not NEEDS_A_NODE.search(command):
            sh(command)
        for space, name, container in LOOKS_INTO.findall(command):
            spec = kube_api.get("deployment", name, namespace=space)["spec"]["template"]["spec"]
            there = {each["name"] for each in (*spec["containers"], *spec.get("initContainers", ()))}
            assert container in {*there, ""}


def test_the_example_of_the_library_chart_is_installed_as_shown(sh: Shell, kube_api: KubeApi) -> None:
    (shown,) = of("Library chart", "sh")

    try:
        follow(shown, sh, kube_api)
        spec = kube_api.get("deployment", "answers", namespace="answers")["spec"]["template"]["spec"]
    finally:
        sh("helm uninstall answers -n answers --ignore-not-found")

    assert IMAGE == spec["initContainers"][0]["image"]


def test_a_pod_that_asks_is_given_turnout_as_shown(sh: Shell, kube_api: KubeApi) -> None:
    install, look = of("Injection", "sh")
    follow(install, sh, kube_api)
    (template,) = (yaml.safe_load(block.text) for block in of("Injection", "yaml"))
    container = {"name": "cart", "image": "example.com/cart:1.0"}
    deployment = as_deployment("cart", {**template, "spec": {"containers": [container]}})
    try:
        until_injected(kube_api, pod_of(deployment, "cart-0"))
        made = kube_api.create(pod_of(deployment, "cart-1"), namespace="shop")["spec"]
        kube_api.apply([as_deployment("cart", {"metadata": template["metadata"], "spec": made})], namespace="shop")
        shown = sh(look.commands[0])
        follow(look, sh, kube_api)
        sh("helm upgrade turnout helm/turnout -n llm --reset-then-reuse-values --set image.tag=0.1.1")
    finally:
        sh("helm uninstall turnout -n llm --ignore-not-found")

    assert "cart-1: turnout\n" == shown
    assert IMAGE == made["initContainers"][0]["image"]
    assert "shop-turnout" in json.dumps(made["volumes"])


def test_the_shared_one_is_installed_without_a_key_and_given_one_as_shown(sh: Shell, kube_api: KubeApi) -> None:
    without, with_key = of("Shared", "sh")

    try:
        follow(without, sh, kube_api)
        simulated = kube_api.get("deployment", "turnout", namespace="llm")["spec"]["template"]["spec"]
        follow(with_key, sh, kube_api)
        sh("helm upgrade turnout helm/turnout -n llm --reset-then-reuse-values --set image.tag=0.1.1")
        real = kube_api.get("deployment", "turnout", namespace="llm")["spec"]["template"]["spec"]
        service = kube_api.get("service", "turnout", namespace="llm")["spec"]
    finally:
        sh("helm uninstall turnout -n llm --ignore-not-found")

    assert ["sim"] == [each["args"][0] for each in simulated["initContainers"]]
    assert "initContainers" not in real
    assert "llm-keys" in json.dumps(real)
    assert ["registry.example.com/turnout:0.1.1"] == [each["image"] for each in real["containers"]]
    assert 50151 in {port["port"] for port in service["ports"]}


def as_deployment(name: str, template: Mapping[str, Any]) -> dict[str, Any]:
    labels = {**template["metadata"]["labels"], "app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {**template, "metadata": {**template["metadata"], "labels": labels}},
        },
    }


def until_injected(kube_api: KubeApi, pod: dict[str, Any]) -> None:
    """Waits until the policy is in force, which takes the API server a second or two."""
    end = time.monotonic() + WAIT_SECONDS
    while "initContainers" not in kube_api.create(pod, namespace="shop", dry_run=True)["spec"]:
        assert time.monotonic() < end, "the policy is not in force"
        time.sleep(0.2)
