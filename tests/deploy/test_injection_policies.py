"""The policies that inject Turnout: made only where they can work, the same when they run twice, and to be upgraded."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.helm_chart import CHART, Helm, Manifest, helm
from tests.deploy.injection import IN_FORCE_SECONDS, again, container, in_force, pod, policies, tried
from tests.deploy.kube_api import KubeApi
from tests.deploy.sidecar_chart import environment, named

__all__ = ["helm"]  # a fixture

RELEASED = Path(__file__).parent / "released/injection"
ON: Mapping[str, Any] = {"injection": {"enabled": True}}
ADDRESS = {"TURNOUT_ADDRESS": "127.0.0.1:50151"}
ADDS_A_CONTAINER = """\
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: zz-mesh}
spec:
  reinvocationPolicy: IfNeeded
  failurePolicy: Fail
  matchConstraints:
    objectSelector: {matchLabels: {mesh: "true"}}
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
  mutations:
    - patchType: JSONPatch
      jsonPatch:
        expression: >-
          object.spec.containers.exists(c, c.name == 'mesh') ? [] :
          [JSONPatch{op: 'add', path: '/spec/containers/-', value: Object.spec.containers{name: 'mesh', image: 'mesh'}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: zz-mesh}
spec: {policyName: zz-mesh}
"""


def test_below_kubernetes_1_36_it_is_refused_with_the_way_out(helm: Helm) -> None:
    ended = helm.template(ON, kubernetes="1.35.0")

    assert ended.returncode != 0
    assert "injection.enabled: Kubernetes v1.35.0 has no MutatingAdmissionPolicy of version v1" in ended.stderr
    assert "or the library chart turnout-sidecar" in ended.stderr


@pytest.mark.full
def test_nothing_is_made_where_it_is_not_enabled(helm: Helm) -> None:
    assert not [each for each in helm.rendered() if "Admission" in each["kind"]]


@pytest.mark.full
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"failurePolicy": "Fial"}, "value must be one of 'Fail', 'Ignore'"),
        ({"port": 50152}, "injection.healthPort: port 50152 is also that of injection.port"),
        ({"image": "a b"}, "at '/injection/image'"),
        ({"env": {"OPENAI_API_KEY": "sk-abcdefgh1234"}}, "put that into a Secret"),
        ({"env": {"TURNOUT_LISTEN__ADDRESS": ":1"}}, "- injection.env: TURNOUT_LISTEN__ADDRESS would change what the"),
        (
            {"env": {"TURNOUT_STATE__SNAPSHOT_FILE": "/s"}},
            "- injection.env: TURNOUT_STATE__SNAPSHOT_FILE is set already",
        ),
        ({"resources": {"requests": {"nvidia.com/gpu": 1}}}, "additional properties 'nvidia.com/gpu' not allowed"),
    ],
)
def test_a_wrong_value_is_refused_in_words(helm: Helm, values: Mapping[str, Any], words: str) -> None:
    assert words in helm.refusal({"injection": {"enabled": True, **values}})


@pytest.mark.full
def test_the_policies_fit_the_schemas(helm: Helm) -> None:
    schemas = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    for manifest in policies(helm):
        schemas.validate(manifest, "1.36", strict=True)


@pytest.mark.full
@pytest.mark.timeout(300)
def test_values_say_what_pods_get_that_say_nothing(kube_api: KubeApi, helm: Helm) -> None:
    space = kube_api.namespace(labels={"turnout": "yes"})
    values = {
        "image": "example.com/turnout:9",
        "failurePolicy": "Ignore",
        "namespaceSelector": {"matchLabels": {"turnout": "yes"}},
        "config": "turnout",
        "keys": {"existingSecret": "keys", "as": "files"},
        "resources": {"requests": {"cpu": "1"}, "limits": {}},
        "env": {"TURNOUT_STRATEGY": "COST", "ODD": 'a"b\\c <d>'},
        "host": "[::]",
        "port": 50400,
        "snapshot": {"enabled": False},
    }

    with in_force(kube_api, policies(helm, values), lambda: _injected(kube_api, space)):
        spec = tried(kube_api, pod(), space)["spec"]
        none = tried(kube_api, pod(annotations={"turnout.dev/config": "", "turnout.dev/secret": ""}), space)["spec"]
        elsewhere = tried(kube_api, pod(), kube_api.namespace())["spec"]

    sidecar = named(spec["initContainers"], "turnout")
    assert "example.com/turnout:9" == sidecar["image"]
    assert {"turnout-scratch", "turnout-config", "turnout-keys"} == {volume["name"] for volume in spec["volumes"]}
    # Helm lays values over the defaults, so that what is not named stays.
    assert {"requests": {"cpu": "1", "memory": "128Mi"}, "limits": {"memory": "256Mi"}} == sidecar["resources"]
    assert {
        "TURNOUT_STRATEGY": "COST",
        "ODD": 'a"b\\c <d>',
        "TURNOUT_HEALTH__ADDRESS": "[::]:50152",
        "TURNOUT_LISTEN__ADDRESS": "127.0.0.1:50400",
    }.items() <= environment(sidecar).items()
    assert "TURNOUT_STATE__SNAPSHOT_FILE" not in environment(sidecar)
    assert ["turnout-scratch"] == [volume["name"] for volume in none["volumes"]]
    assert "initContainers" not in elsewhere


@pytest.mark.full
@pytest.mark.timeout(300)
def test_a_pod_that_has_its_sidecar_gets_no_second(kube_api: KubeApi, helm: Helm) -> None:
    space = kube_api.namespace()
    annotations = {"turnout.dev/socket": "true", "turnout.dev/config": "mine"}
    with in_force(kube_api, policies(helm), lambda: _injected(kube_api, space)):
        once = tried(kube_api, pod(annotations=annotations), space)

        twice = tried(kube_api, again(once, "copy"), space)
        own = container("turnout", restartPolicy="Always")
        brought = tried(kube_api, pod(initContainers=[own]), space)

    assert once["spec"] == twice["spec"]
    assert ["turnout"] == [each["name"] for each in brought["spec"]["initContainers"]]
    assert "volumes" not in brought["spec"]
    assert {} == environment(brought["spec"]["containers"][0])


@pytest.mark.full
@pytest.mark.timeout(300)
def test_a_container_that_another_policy_adds_is_told_the_address(kube_api: KubeApi, helm: Helm) -> None:
    space = kube_api.namespace(enforce="privileged")
    wanted = pod()
    wanted["metadata"]["labels"]["mesh"] = "true"
    mesh = [each for each in yaml.safe_load_all(ADDS_A_CONTAINER) if each]

    def both() -> bool:
        return 2 == len(tried(kube_api, wanted, space)["spec"]["containers"])

    with in_force(kube_api, policies(helm), lambda: _injected(kube_api, space)), in_force(kube_api, mesh, both):
        spec = tried(kube_api, wanted, space)["spec"]

    assert ["answers", "mesh"] == [each["name"] for each in spec["containers"]]
    assert [ADDRESS, ADDRESS] == [environment(each) for each in spec["containers"]]
    assert 1 == len(spec["initContainers"])


@pytest.mark.full
@pytest.mark.timeout(300)
def test_of_two_releases_one_alone_changes_a_pod(kube_api: KubeApi, helm: Helm) -> None:
    only_one, only_other, both = (kube_api.namespace(labels={"release": each}) for each in ("one", "other", "both"))
    asked: dict[str, dict[str, Any]] = {
        "one": {"config": "turnout"},
        "other": {"keys": {"existingSecret": "keys", "as": "files"}},
    }

    def of(release: str) -> list[Manifest]:
        said = [{"key": "release", "operator": "In", "values": [release, "both"]}]
        values = {**asked[release], "namespaceSelector": {"matchExpressions": said}}
        made: list[Manifest] = yaml.safe_load(
            json.dumps(policies(helm, values)).replace("shop-turnout.", f"{release}.")
        )
        return made

    one = in_force(kube_api, of("one"), lambda: _injected(kube_api, only_one))
    other = in_force(kube_api, of("other"), lambda: _injected(kube_api, only_other))
    with one, other:
        made = tried(kube_api, pod(), both)

    # Which of them is first is the API server's choice.
    whose = made["metadata"]["annotations"]["turnout.dev/injected"].partition(".")[0]
    assert ["turnout"] == [each["name"] for each in made["spec"]["initContainers"]]
    volumes = ["turnout-scratch", {"one": "turnout-config", "other": "turnout-keys"}[whose]]
    assert volumes == [volume["name"] for volume in made["spec"]["volumes"]]
    assert ADDRESS == environment(made["spec"]["containers"][0])


@pytest.mark.full
@pytest.mark.timeout(300)
def test_it_comes_and_goes_with_the_release_that_only_injects(kube_api: KubeApi, helm: Helm) -> None:
    space = kube_api.namespace()
    where = ("--namespace", space, "--kubeconfig", kube_api.kubeconfig)
    values = ("--set", "injection.enabled=true", "--set", "replicaCount=0")
    kube_api.apply(helm.rendered({"replicaCount": 0, **ON}), namespace=kube_api.namespace("llm"), dry_run=True)

    installed = helm.run("install", "turnout", CHART, *where, *values)
    try:
        named_after = f"turnout.{space}.turnout.dev"
        for kind in ("mutatingadmissionpolicy", "validatingadmissionpolicy"):
            assert named_after == kube_api.get(kind, named_after)["metadata"]["name"]
    finally:
        removed = helm.run("uninstall", "turnout", *where)

    assert (0, 0) == (installed.returncode, removed.returncode), installed.stderr + removed.stderr
    assert named_after not in kube_api.kubectl("get", "mutatingadmissionpolicies,validatingadmissionpolicies", "-oname")


@pytest.mark.full
@pytest.mark.timeout(300)
@pytest.mark.parametrize("released", sorted(RELEASED.glob("*.yaml")), ids=lambda file: file.stem)
def test_an_upgrade_from_a_released_version_takes_its_place(kube_api: KubeApi, helm: Helm, released: Path) -> None:
    space = kube_api.namespace()
    before: list[Manifest] = [each for each in yaml.safe_load_all(released.read_text()) if each]
    after = policies(helm, {"image": "example.com/turnout:new"})

    def image() -> str:
        return str(tried(kube_api, pod(), space)["spec"]["initContainers"][0]["image"])

    with in_force(kube_api, before, lambda: _injected(kube_api, space)):
        kube_api.apply(after, dry_run=True)
        kube_api.apply(after)
        until = time.monotonic() + IN_FORCE_SECONDS
        while image() != "example.com/turnout:new":
            assert time.monotonic() < until, "the old policies are still in force"
            time.sleep(0.2)

    assert {_identity(each) for each in before} == {_identity(each) for each in after}


def _identity(manifest: Manifest) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]


def _injected(kube_api: KubeApi, space: str) -> bool:
    return "initContainers" in tried(kube_api, pod(), space)["spec"]
