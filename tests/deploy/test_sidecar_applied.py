"""What puts Turnout beside an application is what Kubernetes takes: by its schemas, and by a real API server that
enforces Pod Security `restricted`.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.helm_chart import Manifest, helm
from tests.deploy.kube_api import KubeApi, RefusedError, pod_of
from tests.deploy.sidecar_chart import VERSIONS, Example, example, kustomized, named, plain
from turnout_server.config.load import load

__all__ = ["example", "helm"]  # fixtures

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

RELEASED = Path(__file__).parent / "released/sidecar"
"""What 0.1.0 makes: the only version there is, so that the first upgrade is held to it from the beginning."""

SOCKET: Mapping[str, Any] = {"listener": {"socket": {"enabled": True}}}
FILES: Mapping[str, Any] = {
    "keys": {"as": "files"},
    "config": {"providers": {"openai": {"api_key_file": "/run/secrets/turnout/openai"}, "anthropic": {}}},
}
VALUES: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "socket": SOCKET,
    "files": FILES,
    "everything": {
        **SOCKET,
        **FILES,
        "metrics": {"port": 0},
        "extraEnv": [{"name": "TURNOUT_STRATEGY", "value": "COST"}],
        "extraEnvFrom": [{"configMapRef": {"name": "more", "optional": True}}],
        "extraVolumes": [{"name": "overlay", "configMap": {"name": "models"}}],
        "extraVolumeMounts": [{"name": "overlay", "mountPath": "/etc/turnout-models", "readOnly": True}],
    },
}
ELSEWHERE: Mapping[str, Callable[[], list[Manifest]]] = {"plain": plain, "kustomize": kustomized}


def validate(manifests: Sequence[Manifest], kubernetes: str) -> None:
    schemas = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    for manifest in manifests:
        schemas.validate(manifest, kubernetes.rpartition(".")[0], strict=True)


@pytest.mark.parametrize("kubernetes", VERSIONS)
@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_the_chart_fits_the_schemas(example: Example, values: Mapping[str, Any], kubernetes: str) -> None:
    validate(example.rendered(values, kubernetes=kubernetes), kubernetes)


@pytest.mark.parametrize("kubernetes", VERSIONS[1:])
@pytest.mark.parametrize("manifests", ELSEWHERE.values(), ids=ELSEWHERE)
def test_the_other_examples_fit_the_schemas(manifests: Callable[[], list[Manifest]], kubernetes: str) -> None:
    validate(manifests(), kubernetes)


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_turnout_takes_the_configuration(example: Example, values: Mapping[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "turnout.yaml"
    manifests = example.rendered(values)
    file.write_text(next(each for each in manifests if each["kind"] == "ConfigMap")["data"]["turnout.yaml"])
    sidecar = named(_deployment(manifests)["spec"]["template"]["spec"]["initContainers"], "turnout")
    environ = {each["name"]: each["value"] for each in sidecar["env"] if each["name"] != "TURNOUT_CONFIG"}

    loaded = load(str(file), {**environ, "ANTHROPIC_API_KEY": "k", "OPENAI_API_KEY": "k"}, files=False)

    assert not [warning for warning in loaded.warnings if "TURNOUT_" in warning]


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_the_chart_is_taken_where_pod_security_is_restricted(
    kube_api: KubeApi, example: Example, values: Mapping[str, Any]
) -> None:
    _take(kube_api, example.rendered(values))


@pytest.mark.parametrize("manifests", ELSEWHERE.values(), ids=ELSEWHERE)
def test_the_other_examples_are_taken_likewise(kube_api: KubeApi, manifests: Callable[[], list[Manifest]]) -> None:
    _take(kube_api, manifests())


def _take(kube_api: KubeApi, manifests: Sequence[Manifest]) -> None:
    space = kube_api.namespace()
    kube_api.apply(manifests, namespace=space, dry_run=True)
    with pytest.raises(RefusedError, match="not found"):
        kube_api.get("deployment", "answers", namespace=space)

    applied = kube_api.apply(manifests, namespace=space)
    pod = kube_api.create(pod_of(_deployment(applied), "answers-1"), namespace=space)

    sidecar = pod["spec"]["initContainers"][0]
    assert ("turnout", "Always") == (sidecar["name"], sidecar["restartPolicy"])
    assert sidecar["startupProbe"]["grpc"]["port"] in {port["containerPort"] for port in sidecar["ports"]}


def test_a_sidecar_that_may_do_more_is_refused_there(kube_api: KubeApi, example: Example) -> None:
    manifests = example.rendered({"securityContext": {"runAsUser": 0}})

    with pytest.raises(RefusedError, match="runAsUser=0"):
        kube_api.create(pod_of(_deployment(manifests), "answers-1"), namespace=kube_api.namespace())


@pytest.mark.parametrize("released", sorted(RELEASED.glob("*.yaml")), ids=lambda file: file.stem)
def test_an_upgrade_from_a_released_version_is_taken(kube_api: KubeApi, example: Example, released: Path) -> None:
    space = kube_api.namespace()
    before = kube_api.apply(released.read_text(), namespace=space)
    manifests = example.rendered(VALUES[released.stem.rpartition("-")[2]])

    after = kube_api.apply(manifests, namespace=space)

    assert [each["metadata"]["uid"] for each in before] == [each["metadata"]["uid"] for each in after]


def test_helm_installs_and_upgrades_the_example(kube_api: KubeApi, example: Example) -> None:
    space = kube_api.namespace()
    where = ("--namespace", space, "--kubeconfig", kube_api.kubeconfig)
    for command, values in (("install", {}), ("upgrade", SOCKET), ("upgrade", FILES)):
        text = yaml.safe_dump({"turnout-sidecar": dict(values)})

        ended = example.helm.run(command, "answers", example.chart, *where, "--values", "-", stdin=text)

        assert ended.returncode == 0, ended.stderr
    volumes = kube_api.get("deployment", "answers", namespace=space)["spec"]["template"]["spec"]["volumes"]
    assert {"turnout-scratch", "turnout-config", "turnout-keys"} == {volume["name"] for volume in volumes}


def _deployment(manifests: Sequence[Manifest]) -> Manifest:
    return next(each for each in manifests if each["kind"] == "Deployment")
