"""The application chart, rendered by the real helm: what it makes is valid, and what it refuses it explains."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.processes import run
from tests.deploy.helm_chart import (
    CHART,
    KUBERNETES_VERSIONS,
    NEWEST_KUBERNETES,
    OF_OPERATORS,
    OLDEST_KUBERNETES,
    VALUES_FILES,
    Helm,
    Values,
    configuration_of,
    helm,
    one,
)
from tests.tool_paths import working
from turnout_server.config.load import load

__all__ = ["helm"]

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

RELEASED = Path(__file__).parent / "released"
"""Every released version as `helm template shop helm/turnout -n llm -f helm/turnout/ci/NAME-values.yaml` made it, in
turnout-VERSION-NAME.yaml. A release adds its own, none is changed; before the first one 0.1.0 stands for it."""


def pod(helm: Helm, values: Values) -> dict[str, Any]:
    template: dict[str, Any] = one(helm.rendered(values), "Deployment")["spec"]["template"]
    return template


def test_chart_is_clean(helm: Helm) -> None:
    ended = helm.run("lint", "--strict", CHART)

    assert (0, "") == (ended.returncode, ended.stderr)


def test_unit_tests_of_the_chart_pass() -> None:
    ended = subprocess.run(  # noqa: S603 - a tool of ours
        [working("helm-unittest", "--help"), "--strict", CHART],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert 0 == ended.returncode, ended.stdout + ended.stderr


def test_package_has_what_installing_needs_and_no_tests(helm: Helm, tmp_path: Path) -> None:
    assert 0 == helm.run("package", CHART, "--destination", tmp_path).returncode
    (package,) = tmp_path.glob("*.tgz")
    listed = subprocess.run(["tar", "tzf", package], capture_output=True, text=True, check=True)  # noqa: S603, S607 - ours
    names = {name.removeprefix("turnout/") for name in listed.stdout.split()}

    assert {"values.schema.json", "README.md", "files/alerts.yaml", "templates/tests/status.yaml"} <= names
    assert "files/dashboards/fleet.json" in names
    assert not [name for name in names if name.startswith(("ci/", "tests/"))]


@pytest.mark.parametrize("kubernetes", KUBERNETES_VERSIONS)
@pytest.mark.parametrize("values", VALUES_FILES, ids=lambda file: file.stem)
def test_every_manifest_is_what_that_kubernetes_takes(helm: Helm, values: Path, kubernetes: str) -> None:
    validate = pytest.importorskip("kubernetes_validate").validate
    manifests = helm.rendered(values, kubernetes=kubernetes)

    assert {"ConfigMap", "Deployment", "NetworkPolicy", "Service"} <= {each["kind"] for each in manifests}
    for each in manifests:
        if each["apiVersion"] != OF_OPERATORS:
            validate(each, kubernetes, strict=True)
        assert {"app.kubernetes.io/name": "turnout", "app.kubernetes.io/instance": "shop"}.items() <= (
            each["metadata"]["labels"].items()
        )


LONG = "a" * 52


@pytest.mark.parametrize(
    ("release", "values", "name"),
    [
        ("shop.eu", {}, "shop-eu-turnout"),
        ("4711", {}, "turnout-4711-turnout"),
        ("shop", {"fullnameOverride": "4711"}, "turnout-4711"),
        ("shop", {"nameOverride": "llm.router"}, "shop-llm-router"),
        ("shop", {"nameOverride": f"{LONG}{'b' * 10}.c"}, f"shop-{LONG[:49]}"),
        ("shop", {"fullnameOverride": "llm.router"}, "llm-router"),
        ("shop", {"fullnameOverride": f"{LONG}--b"}, LONG),
    ],
)
def test_names_fit_whatever_they_are_made_of(helm: Helm, release: str, values: Values, name: str) -> None:
    validate = pytest.importorskip("kubernetes_validate").validate
    given = {**values, "service": {"headless": True}, "injection": {"enabled": True}}
    ended = helm.run(
        *("template", release, CHART, "--kube-version", NEWEST_KUBERNETES, "-f", "-"), stdin=json.dumps(given)
    )
    manifests = [each for each in yaml.safe_load_all(ended.stdout) if each]
    label = one(manifests, "Deployment")["metadata"]["labels"]["app.kubernetes.io/name"]

    assert name == one(manifests, "Deployment")["metadata"]["name"]
    assert re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", label)
    for each in manifests:
        validate(each, NEWEST_KUBERNETES, strict=True)
        if each["kind"] == "Service":
            assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", each["metadata"]["name"])


@pytest.mark.parametrize("word", ["4711", "on", "1e3", "null"])
def test_names_that_look_like_something_else_stay_texts(helm: Helm, word: str) -> None:
    validate = pytest.importorskip("kubernetes_validate").validate
    values = {
        "nameOverride": word,
        "keys": {"existingSecret": word},
        "listener": {
            "tls": {"existingSecret": word, "clientCaSecret": word, "clientCaKey": word},
            "tokens": [{"secret": word, "key": word, "tenant": word}],
        },
        "test": {"clientCertSecret": word, "caKey": word},
        "serviceAccount": {"name": word},
        "priorityClassName": word,
        "podLabels": {"team": word},
        "nodeSelector": {"pool": word},
        "extraEnv": [{"name": "A", "value": word}],
    }
    ended = helm.run(
        *("template", word, CHART, "--namespace", word, "--kube-version", NEWEST_KUBERNETES, "-f", "-"),
        stdin=json.dumps(values),
    )

    assert 0 == ended.returncode, ended.stderr
    for each in yaml.safe_load_all(ended.stdout):
        validate(each, NEWEST_KUBERNETES, strict=True)
        # The schema takes null for it, a cluster does not.
        assert isinstance(each["metadata"]["name"], str)


@pytest.mark.parametrize("name", ["a" * 46, "a" * 47, "a" * 54])
def test_alerts_look_at_the_pods_that_a_long_name_gives(helm: Helm, name: str) -> None:
    values = {"fullnameOverride": name, "metrics": {"prometheusRule": {"enabled": True}}}
    (group,) = one(helm.rendered(values), "PrometheusRule")["spec"]["groups"]
    asked = re.search(r'pod=~"([^"]+)"', group["rules"][0]["expr"])
    # Kubernetes cuts what a ReplicaSet's Pods are called at 58 characters before it adds five of its own.
    pod = f"{name}-7c5d96bf9d-"[:58] + "x2k9q"

    assert asked
    assert re.fullmatch(asked[1], pod)
    assert not re.fullmatch(asked[1], f"{name}-canary-7c5d96bf9d-x2k9q")


def test_labels_and_annotations_of_ones_own_never_stand_twice(helm: Helm) -> None:
    theirs = {"app.kubernetes.io/instance": "theirs", "team": "llm"}
    operators = {"enabled": True, "labels": theirs}
    ended = helm.template(
        {
            "podLabels": theirs,
            "podAnnotations": {"checksum/restart": "theirs", "team": "llm"},
            "metrics": {"podMonitor": operators, "serviceMonitor": operators, "prometheusRule": operators},
        }
    )
    manifests = [each for each in yaml.load_all(ended.stdout, OnceEach) if each]
    pod_labels = one(manifests, "Deployment")["spec"]["template"]["metadata"]["labels"]

    assert {"app.kubernetes.io/instance": "shop", "team": "llm"}.items() <= pod_labels.items()
    for kind in ("PodMonitor", "ServiceMonitor", "PrometheusRule"):
        labels = one(manifests, kind)["metadata"]["labels"]
        assert {"app.kubernetes.io/instance": "shop", "team": "llm"}.items() <= labels.items()


class OnceEach(yaml.SafeLoader):
    """Fails where a key stands twice in one mapping, as strict readers of YAML do."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), keys
        return dict(super().construct_mapping(node, deep=deep))


@pytest.mark.parametrize(
    ("volume", "strategy"),
    [
        ({"persistentVolumeClaim": {"claimName": "data"}}, "Recreate"),
        ({"emptyDir": {"medium": "Memory"}}, "RollingUpdate"),
    ],
)
def test_a_snapshot_that_outlives_pods_is_never_held_by_two(helm: Helm, volume: Values, strategy: str) -> None:
    values = {
        "config": {"state": {"snapshot_file": "/data/turnout/state"}},
        "extraVolumes": [{"name": "data", **volume}],
        "extraVolumeMounts": [{"name": "data", "mountPath": "/data/"}],
    }
    spec = one(helm.rendered(values), "Deployment")["spec"]
    (container,) = spec["template"]["spec"]["containers"]

    assert strategy == spec["strategy"]["type"]
    # Nothing empty is mounted over a folder of that volume.
    assert ["/etc/turnout", "/data/"] == [each["mountPath"] for each in container["volumeMounts"]]


def test_of_the_callers_authorities_only_the_certificates_are_mounted(helm: Helm) -> None:
    spec = pod(helm, yaml.safe_load((CHART / "ci/tls-values.yaml").read_text()))["spec"]
    (authorities,) = (volume["secret"] for volume in spec["volumes"] if volume["name"] == "client-ca")

    assert [{"key": "ca.crt", "path": "ca.crt"}] == authorities["items"]


def test_what_the_operator_reads_is_shaped_as_it_wants(helm: Helm) -> None:
    # No schema of these kinds is at hand: what the operator's documentation asks for is checked here.
    manifests = helm.rendered(CHART / "ci/full-values.yaml")
    own = one(manifests, "Deployment")["spec"]["selector"]["matchLabels"]
    names = {
        port["name"] for port in one(manifests, "Deployment")["spec"]["template"]["spec"]["containers"][0]["ports"]
    }
    scraped = one(manifests, "PodMonitor")["spec"]
    watched = one(manifests, "ServiceMonitor")["spec"]
    (group,) = one(manifests, "PrometheusRule")["spec"]["groups"]

    assert {"matchLabels": own} == scraped["selector"] == watched["selector"]
    assert {endpoint["port"] for endpoint in scraped["podMetricsEndpoints"] + watched["endpoints"]} <= names
    assert {"name", "rules"} == group.keys()
    for rule in group["rules"]:
        assert {"alert", "expr", "labels", "annotations"} <= rule.keys()
        assert {"summary", "description", "runbook_url"} == rule["annotations"].keys()
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}


@pytest.mark.parametrize("values", VALUES_FILES, ids=lambda file: file.stem)
def test_turnout_itself_takes_the_configuration(helm: Helm, values: Path, tmp_path: Path) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text(configuration_of(helm.rendered(values)))
    ended = run("check", "--no-files", str(file))

    assert (0, []) == (ended.code, [line for line in ended.out.splitlines() if "ok" not in line])


def test_what_the_configuration_says_comes_out_as_it_went_in(helm: Helm, tmp_path: Path) -> None:
    words = [
        "0660",
        "on",
        "No",
        "null",
        "~",
        "1:30",
        "2027-01-14",
        "1e3",
        "0x1f",
        "a: b",
        "- a",
        "#x",
        "é✓",
        " ",
        "{{x}}",
    ]
    model = {"name": "m", "retires_on": "2027-01-14", "context_window_tokens": 100_000_000}
    prices = {"input_per_million_usd": 1.25e-9, "output_per_million_usd": 999_999_999.125}
    provider = {"wire": "openai", "base_url": "https://llm.example.com/v1", "models": [{**model, "price": prices}]}
    config = {
        "providers": {"house": provider},
        "catalog": {"overlay_files": words},
        "listen": {"socket": "/run/turnout/turnout.sock", "socket_mode": "0640"},
        "limits": {"max_inflight_mib": 65536},
    }
    file = tmp_path / "turnout.yaml"
    file.write_text(configuration_of(helm.rendered({"config": config, "listener": {"insecure": True}})))
    plain = tmp_path / "plain.yaml"
    plain.write_text(json.dumps(config))
    came, went = (load(str(each), {}, files=False).configuration for each in (file, plain))

    assert went.providers == came.providers
    assert went.catalog == came.catalog
    assert went.limits == came.limits
    assert (went.listen.socket, went.listen.socket_mode) == (came.listen.socket, came.listen.socket_mode)


def test_a_change_that_is_taken_while_running_replaces_no_pod(helm: Helm) -> None:
    changed = {"config": {"routing": {"policies": {"default": {"strategy": "COST"}}}}}
    one_way, other_way = helm.rendered(), helm.rendered(changed)

    assert configuration_of(one_way) != configuration_of(other_way)
    assert one(one_way, "Deployment") == one(other_way, "Deployment")


@pytest.mark.parametrize(
    "config",
    [{"listen": {"reflection": False}}, {"limits": {"max_message_mib": 64}}, {"telemetry": {"log_format": "text"}}],
    ids=str,
)
def test_a_change_that_only_a_start_takes_replaces_the_pods(helm: Helm, config: Values) -> None:
    assert pod(helm, {}) != pod(helm, {"config": config})


def test_any_change_replaces_the_pods_where_that_is_asked_for(helm: Helm) -> None:
    changed = {"config": {"routing": {"policies": {"default": {"strategy": "COST"}}}}}

    assert pod(helm, {"restartOnConfigChange": True}) != pod(helm, {**changed, "restartOnConfigChange": True})


def test_a_new_version_of_the_chart_alone_replaces_no_pod(helm: Helm, tmp_path: Path) -> None:
    later = tmp_path / "turnout"
    subprocess.run(["cp", "-r", CHART, later], check=True)  # noqa: S603, S607 - ours
    about = later / "Chart.yaml"
    about.write_text(about.read_text().replace("version: 0.1.0\napp", "version: 0.1.1\napp"))
    ended = helm.run("template", "shop", later, "--namespace", "llm", "--kube-version", OLDEST_KUBERNETES)
    changed = [each for each in yaml.safe_load_all(ended.stdout) if each]
    as_before = helm.rendered(kubernetes=OLDEST_KUBERNETES)

    assert "turnout-0.1.1" == one(changed, "Deployment")["metadata"]["labels"]["helm.sh/chart"]
    assert one(as_before, "Deployment")["spec"] == one(changed, "Deployment")["spec"]


@pytest.mark.parametrize("released", sorted(RELEASED.glob("*.yaml")), ids=lambda file: file.stem)
def test_an_upgrade_changes_nothing_that_cannot_change(helm: Helm, released: Path) -> None:
    before = [each for each in yaml.safe_load_all(released.read_text()) if each]
    now = {
        (each["kind"], each["metadata"]["name"]): each
        for each in helm.rendered(CHART / "ci" / f"{released.stem.split('-', 2)[2]}-values.yaml")
    }

    for each in before:
        same = now[each["kind"], each["metadata"]["name"]]
        assert each["apiVersion"] == same["apiVersion"]
        if each["kind"] == "Deployment":
            assert each["spec"]["selector"] == same["spec"]["selector"]
        if each["kind"] == "Service":
            assert each["spec"].get("clusterIP") == same["spec"].get("clusterIP")
            # Pods of both versions serve while one replaces the other.
            assert each["spec"]["selector"] == same["spec"]["selector"]
