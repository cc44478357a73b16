"""The library chart puts Turnout beside an application, and says in words what it cannot do."""

import re
from typing import Any

import pytest
import yaml

from tests.deploy.helm_chart import Helm, helm
from tests.deploy.sidecar_chart import (
    LIBRARY,
    Example,
    environment,
    example,
    kustomized,
    named,
    plain,
    pod_spec,
)

__all__ = ["example", "helm"]  # fixtures

SOCKET = "/run/turnout/turnout.sock"


def test_a_native_sidecar_comes_first_and_is_waited_for(example: Example) -> None:
    spec = pod_spec(example.rendered(kubernetes="1.29.0"))

    sidecar = spec["initContainers"][0]
    assert ("turnout", "Always") == (sidecar["name"], sidecar["restartPolicy"])
    assert {"grpc": {"port": 50152}, "periodSeconds": 1, "timeoutSeconds": 2, "failureThreshold": 60} == (
        sidecar["startupProbe"]
    )
    assert "lifecycle" not in sidecar
    assert ["answers"] == [each["name"] for each in spec["containers"]]


def test_an_ordinary_container_below_native_sidecars_outlives_the_applications_last_calls(example: Example) -> None:
    spec = pod_spec(example.rendered(kubernetes="1.28.0"))

    sidecar = named(spec["containers"], "turnout")
    assert not spec["initContainers"]
    assert "restartPolicy" not in sidecar
    assert {"preStop": {"exec": {"command": ["sleep", "15"]}}} == sidecar["lifecycle"]


def test_the_application_finds_turnout_on_loopback_whatever_the_file_says(example: Example) -> None:
    spec = pod_spec(example.rendered({"listener": {"port": 50200}, "health": {"port": 50201}, "metrics": {"port": 0}}))

    assert {"TURNOUT_ADDRESS": "127.0.0.1:50200"} == environment(named(spec["containers"], "answers"))
    sidecar = named(spec["initContainers"], "turnout")
    assert {
        "TURNOUT_CONFIG": "/etc/turnout/turnout.yaml",
        "TURNOUT_LISTEN__ADDRESS": "127.0.0.1:50200",
        "TURNOUT_HEALTH__ADDRESS": "0.0.0.0:50201",
        "TURNOUT_METRICS__ADDRESS": "",
        "TURNOUT_STATE__SNAPSHOT_FILE": "/var/lib/turnout/snapshot",
    } == environment(sidecar)
    assert [50201] == [port["containerPort"] for port in sidecar["ports"]]
    assert {50201} == {sidecar[probe]["grpc"]["port"] for probe in ("startupProbe", "livenessProbe")}


def test_a_socket_is_shared_with_those_who_mount_it_and_are_of_its_group(example: Example) -> None:
    spec = pod_spec(example.rendered({"listener": {"socket": {"enabled": True}}}))

    application, sidecar = named(spec["containers"], "answers"), named(spec["initContainers"], "turnout")
    assert {"TURNOUT_ADDRESS": f"unix://{SOCKET}"} == environment(application)
    assert [{"name": "turnout-socket", "mountPath": "/run/turnout", "readOnly": True}] == application["volumeMounts"]
    assert {"name": "turnout-socket", "mountPath": "/run/turnout"} in sidecar["volumeMounts"]
    assert ("", SOCKET) == tuple(environment(sidecar)[f"TURNOUT_LISTEN__{each}"] for each in ("ADDRESS", "SOCKET"))
    assert "emptyDir" in named(spec["volumes"], "turnout-socket")
    assert [sidecar["securityContext"]["runAsGroup"]] == spec["securityContext"]["supplementalGroups"]


@pytest.mark.full
def test_plain_yaml_and_kustomize_say_what_the_chart_says(example: Example) -> None:
    charted, plainly, layered = example.rendered(), plain(), kustomized()
    expected = pod_spec(charted)

    for manifests in (plainly, layered):
        spec = pod_spec(manifests)
        assert named(expected["initContainers"], "turnout") == spec["initContainers"][0]
        assert named(expected["volumes"], "turnout-scratch") == named(spec["volumes"], "turnout-scratch")
        assert environment(expected["containers"][0]) == environment(named(spec["containers"], "answers"))
        assert _configuration(charted) == _configuration(manifests)
    migrate = named(pod_spec(layered)["initContainers"], "migrate")
    assert {"TURNOUT_ADDRESS": "127.0.0.1:50151"} == environment(migrate)


def _configuration(manifests: list[dict[str, Any]]) -> object:
    (found,) = (each for each in manifests if each["kind"] == "ConfigMap")
    return yaml.safe_load(found["data"]["turnout.yaml"])


def test_all_faults_are_told_at_once_with_what_to_do(example: Example) -> None:
    said = example.refusal(
        {
            "nativeSidecar": "always",
            "existingConfigMap": "mine",
            "health": {"port": 50151},
            "config": {
                "state": {"snapshot_file": "/tmp/snapshot"},  # noqa: S108 - a path in a Pod
                "telemetry": {"request_log": {"file": "/var/lib/turnout/log"}},
            },
        },
        kubernetes="1.27.0",
    )

    assert [
        "nativeSidecar: Kubernetes v1.27.0 has no native sidecars (1.29 has, 1.28 behind a feature gate); set auto",
        "existingConfigMap: there is config too, and Turnout reads one; remove either",
        "listener.port: port 50151 is also that of health.port; each needs its own",
        (
            "config.state.snapshot_file: /tmp/snapshot is in no folder that Turnout may write to; write "
            "/var/lib/turnout/snapshot, or mount a volume there with extraVolumeMounts"
        ),
    ] == re.findall(r"^- (.*)$", said, re.MULTILINE)


@pytest.mark.full
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"prot": 1}, "additional properties 'prot' not allowed"),
        ({"listener": {"port": "50151"}}, "at '/listener/port': got string, want integer"),
        ({"metrics": {"port": 80}}, "at '/metrics/port'"),
        ({"nativeSidecar": "yes"}, "value must be one of 'auto', 'always', 'never'"),
        ({"config": {"providers": {"openai": {"api_key": "x"}}}}, "additional properties 'api_key' not allowed"),
        ({"config": {"listen": {"address": "0.0.0.0:1"}}}, "left out: listener.port says it"),
        ({"extraEnv": [{"name": "OPENAI_API_KEY", "value": "sk-abcdefgh1234"}]}, "put that into a Secret"),
        ({"keys": {"as": "files"}, "config": None}, "keys.as: files are used by the providers that name"),
        ({"keys": {"as": "file"}}, "value must be one of 'env', 'files'"),
        ({"host": None}, "missing property 'host'"),
        ({"listener": {"socket": None}}, "at '/listener': missing property 'socket'"),
        (
            {"extraEnv": [{"name": "TURNOUT_LISTEN__ADDRESS", "value": "0.0.0.0:1"}]},
            "- extraEnv: TURNOUT_LISTEN__ADDRESS: the chart sets it",
        ),
        ({"extraEnv": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}, "- extraEnv: A: is there twice"),
        (
            {"extraVolumes": [{"name": "turnout-config", "emptyDir": {}}]},
            "- extraVolumes: turnout-config: the chart has a volume of that name",
        ),
        (
            {"extraVolumeMounts": [{"name": "own", "mountPath": "/var/lib/turnout/"}]},
            "- extraVolumeMounts: /var/lib/turnout: the chart mounts something there",
        ),
    ],
)
def test_a_wrong_value_is_refused_in_words(example: Example, values: dict[str, Any], words: str) -> None:
    assert words in example.refusal(values)


@pytest.mark.full
@pytest.mark.parametrize(
    ("kubernetes", "native"),
    [("1.28.9-eks-1a2b3c", False), ("1.29.0-gke.1381000", True), ("1.33.2+k3s1", True)],
)
def test_versions_of_vendors_count_as_what_they_are(example: Example, kubernetes: str, native: bool) -> None:  # noqa: FBT001 - a table
    spec = pod_spec(example.rendered(kubernetes=kubernetes))

    assert native == bool(spec["initContainers"])
    assert native != (len(spec["containers"]) == 2)


@pytest.mark.full
def test_an_old_cluster_is_told_so(example: Example) -> None:
    assert "Kubernetes v1.24.0 is too old: the chart needs 1.25 or newer" in example.refusal({}, kubernetes="1.24.0")


@pytest.mark.full
def test_the_image_is_that_of_the_charts_version_unless_said_otherwise(example: Example) -> None:
    chart = yaml.safe_load((LIBRARY / "Chart.yaml").read_text())
    digest = "sha256:" + "0" * 64

    def image(**values: str) -> str:
        return str(named(pod_spec(example.rendered({"image": values}))["initContainers"], "turnout")["image"])

    assert f"example.com/turnout:{chart['appVersion']}" == image(tag="")
    assert f"example.com/turnout@{digest}" == image(digest=digest)


@pytest.mark.full
def test_keys_come_as_environment_or_as_files_and_never_as_both(example: Example) -> None:
    as_files = pod_spec(example.rendered({"keys": {"as": "files"}}))
    sidecar = named(as_files["initContainers"], "turnout")
    as_environment = named(pod_spec(example.rendered())["initContainers"], "turnout")

    assert [{"secretRef": {"name": "provider-keys"}}] == as_environment["envFrom"]
    assert "envFrom" not in sidecar
    assert {"name": "turnout-keys", "mountPath": "/run/secrets/turnout", "readOnly": True} in sidecar["volumeMounts"]
    assert "provider-keys" == named(as_files["volumes"], "turnout-keys")["secret"]["secretName"]


@pytest.mark.full
def test_a_configuration_of_ones_own_takes_the_place_of_the_charts(example: Example) -> None:
    # null takes a value of the example's away.
    manifests = example.rendered({"existingConfigMap": "mine", "config": None})

    assert ["Deployment"] == [each["kind"] for each in manifests]
    assert {"name": "mine"} == named(pod_spec(manifests)["volumes"], "turnout-config")["configMap"]


@pytest.mark.full
def test_without_any_configuration_turnout_takes_the_keys_it_finds(example: Example) -> None:
    spec = pod_spec(example.rendered({"config": None}))
    sidecar = named(spec["initContainers"], "turnout")

    assert "TURNOUT_CONFIG" not in environment(sidecar)
    assert ["turnout-scratch"] == [each["name"] for each in spec["volumes"]]
    assert ["turnout-scratch"] == [each["name"] for each in sidecar["volumeMounts"]]


@pytest.mark.full
@pytest.mark.parametrize(
    "values",
    [{"snapshot": {"enabled": False}}, {"config": {"state": {"snapshot_file": "/var/lib/turnout/mine"}}}],
)
def test_a_snapshot_is_left_to_those_who_say_where(example: Example, values: dict[str, Any]) -> None:
    sidecar = named(pod_spec(example.rendered(values))["initContainers"], "turnout")

    assert "TURNOUT_STATE__SNAPSHOT_FILE" not in environment(sidecar)


@pytest.mark.full
def test_numbers_of_the_configuration_stay_numbers(example: Example) -> None:
    model = {
        "name": "m",
        "context_window_tokens": 2_000_000,
        "price": {"input_per_million_usd": 0.25, "output_per_million_usd": 1},
    }
    config = {"providers": {"openai": None, "anthropic": None, "house": {"wire": "openai", "models": [model]}}}

    found = _configuration(example.rendered({"config": config}))

    assert isinstance(found, dict)
    assert [model] == found["providers"]["house"]["models"]


@pytest.mark.full
def test_what_the_chart_leaves_free_may_be_used(example: Example) -> None:
    sidecar = named(
        pod_spec(
            example.rendered(
                {
                    "config": None,
                    "extraEnv": [{"name": "TURNOUT_CONFIG", "value": "/etc/turnout/own.yaml"}],
                    "extraVolumeMounts": [{"name": "own", "mountPath": "/etc/turnout"}],
                    "extraVolumes": [{"name": "own", "emptyDir": {}}],
                }
            )
        )["initContainers"],
        "turnout",
    )

    assert "/etc/turnout/own.yaml" == environment(sidecar)["TURNOUT_CONFIG"]


@pytest.mark.full
def test_how_often_probes_ask_can_be_said(example: Example) -> None:
    probe = {"periodSeconds": 5, "timeoutSeconds": 9, "failureThreshold": 7}
    sidecar = named(
        pod_spec(example.rendered({"startupProbe": probe, "livenessProbe": probe}))["initContainers"], "turnout"
    )

    assert {"grpc": {"port": 50152}, **probe} == sidecar["startupProbe"] == sidecar["livenessProbe"]


@pytest.mark.full
def test_two_sidecars_and_an_alias_are_told_by_root_and_values(example: Example, helm: Helm) -> None:
    chart = example.chart
    template = """
{{- $first := dict "root" . "values" .Values.first }}
{{- $second := dict "root" . "values" (dict "configMapName" "second" "listener" (dict "port" 50300)) }}
one: {{ include "turnout-sidecar.env" $first | nindent 2 }}
two: {{ include "turnout-sidecar.env" $second | nindent 2 }}
maps: [{{ (include "turnout-sidecar.configMap" $second | fromYaml).metadata.name }}]
"""
    (chart / "templates/pair.yaml").write_text(template)
    try:
        ended = helm.run(
            "template", "x", chart, "--set", "first.listener.port=50400", "--show-only", "templates/pair.yaml"
        )
    finally:
        (chart / "templates/pair.yaml").unlink()

    assert {
        "one": [{"name": "TURNOUT_ADDRESS", "value": "127.0.0.1:50400"}],
        "two": [{"name": "TURNOUT_ADDRESS", "value": "127.0.0.1:50300"}],
        "maps": ["second"],
    } == yaml.safe_load(ended.stdout)


@pytest.mark.full
def test_values_can_be_looked_at_without_making_anything_of_them(example: Example, helm: Helm) -> None:
    look = example.chart / "templates/look.yaml"
    look.write_text('{{ include "turnout-sidecar.validate" (dict "root" . "values" .Values.look) }}')
    try:
        taken = helm.run("template", "x", example.chart, "--set", "look.keys.as=files")
        refused = helm.run("template", "x", example.chart, "--set", "look.keys.as=file")
    finally:
        look.unlink()

    assert 0 == taken.returncode, taken.stderr
    assert "look.yaml" not in taken.stdout
    assert "- keys.as: must be env or files; got file" in refused.stderr


@pytest.mark.full
def test_the_library_passes_helms_own_look(helm: Helm, example: Example) -> None:
    for chart in (LIBRARY, example.chart):
        looked = helm.run("lint", "--strict", chart)

        assert looked.returncode == 0, looked.stdout
