"""A Pod that only says it wants Turnout gets it from the API server itself, and one that cannot have it is told why."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.deploy.helm_chart import Helm, helm
from tests.deploy.injection import container, in_force, pod, policies, refused, tried
from tests.deploy.kube_api import KubeApi, pod_of
from tests.deploy.sidecar_chart import Example, environment, example, named

__all__ = ["example", "helm"]  # fixtures

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

IMAGE = "example.com/turnout:0.1.0"
ADDRESS = {"TURNOUT_ADDRESS": "127.0.0.1:50151"}


@pytest.fixture(scope="module")
def space(kube_api: KubeApi, helm: Helm) -> Iterator[str]:
    """A namespace where the policies with their defaults are in force, and Pod Security `restricted`."""
    name = kube_api.namespace()

    def witness() -> bool:
        return "initContainers" in tried(kube_api, pod(), name)["spec"]

    with in_force(kube_api, policies(helm, {"image": IMAGE}), witness):
        yield name


def test_the_label_alone_brings_sidecar_probe_volume_and_address(kube_api: KubeApi, space: str) -> None:
    made = tried(kube_api, pod(container("answers"), container("beside")), space)

    (sidecar,) = made["spec"]["initContainers"]
    assert ("turnout", IMAGE, "Always", ["serve"]) == tuple(
        sidecar[key] for key in ("name", "image", "restartPolicy", "args")
    )
    assert 50152 == sidecar["startupProbe"]["grpc"]["port"]
    assert ["turnout-scratch"] == [volume["name"] for volume in made["spec"]["volumes"]]
    assert [ADDRESS, ADDRESS] == [environment(each) for each in made["spec"]["containers"]]
    assert "turnout.dev/injected" in made["metadata"]["annotations"]


@pytest.mark.parametrize("label", [None, "false"])
def test_a_pod_that_does_not_ask_is_left_as_it_is(kube_api: KubeApi, space: str, label: str | None) -> None:
    spec = tried(kube_api, pod(label=label), space)["spec"]

    assert not {"initContainers", "volumes"} & spec.keys()
    assert [{}] == [environment(each) for each in spec["containers"]]


def test_a_namespace_that_is_left_out_is_left_as_it_is(kube_api: KubeApi, space: str) -> None:
    assert space

    assert "initContainers" not in tried(kube_api, pod(), "kube-system")["spec"]


def test_what_is_injected_is_what_the_library_chart_makes(kube_api: KubeApi, space: str, example: Example) -> None:
    (deployment,) = (each for each in example.rendered() if each["kind"] == "Deployment")
    made = kube_api.create(pod_of(deployment, "by-chart"), namespace=space)["spec"]
    bare = pod_of(deployment, "by-label")
    bare["metadata"]["labels"] = {"turnout.dev/inject": "true"}
    bare["metadata"]["annotations"] = {"turnout.dev/config": "answers-turnout", "turnout.dev/secret": "provider-keys"}
    own = [{key: value for key, value in each.items() if key != "env"} for each in bare["spec"]["containers"]]
    bare["spec"] = {**bare["spec"], "initContainers": [], "volumes": [], "containers": own}

    injected = kube_api.create(bare, namespace=space)["spec"]

    assert made == injected


def test_annotations_say_image_resources_ports_and_configuration(kube_api: KubeApi, space: str) -> None:
    annotations = {
        "turnout.dev/image": "example.com/other@sha256:" + "0" * 64,
        "turnout.dev/config": "mine",
        "turnout.dev/secret": "keys",
        "turnout.dev/port": "50300",
        "turnout.dev/health-port": "50301",
        "turnout.dev/metrics-port": "50302",
        "turnout.dev/cpu-request": "10m",
        "turnout.dev/cpu-limit": "500m",
        "turnout.dev/memory-request": "64Mi",
        "turnout.dev/memory-limit": "512Mi",
    }

    spec = tried(kube_api, pod(annotations=annotations), space)["spec"]

    sidecar = named(spec["initContainers"], "turnout")
    assert annotations["turnout.dev/image"] == sidecar["image"]
    assert {"name": "mine"}.items() <= named(spec["volumes"], "turnout-config")["configMap"].items()
    assert [{"secretRef": {"name": "keys"}}] == sidecar["envFrom"]
    assert {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "500m", "memory": "512Mi"}} == (
        sidecar["resources"]
    )
    assert {
        "TURNOUT_CONFIG": "/etc/turnout/turnout.yaml",
        "TURNOUT_LISTEN__ADDRESS": "127.0.0.1:50300",
        "TURNOUT_HEALTH__ADDRESS": "0.0.0.0:50301",
        "TURNOUT_METRICS__ADDRESS": "0.0.0.0:50302",
        "TURNOUT_STATE__SNAPSHOT_FILE": "/var/lib/turnout/snapshot",
    } == environment(sidecar)
    assert {50301} == {sidecar[probe]["grpc"]["port"] for probe in ("startupProbe", "livenessProbe")}
    assert {"TURNOUT_ADDRESS": "127.0.0.1:50300"} == environment(spec["containers"][0])


@pytest.mark.parametrize(
    ("annotations", "requests", "limits"),
    [
        ({}, {"cpu": "100m", "memory": "128Mi"}, {"memory": "256Mi"}),
        ({"memory-limit": "64Mi"}, {"cpu": "100m", "memory": "64Mi"}, {"memory": "64Mi"}),
        ({"memory-request": "1Gi"}, {"cpu": "100m", "memory": "1Gi"}, {"memory": "1Gi"}),
        ({"cpu-limit": "50m"}, {"cpu": "50m", "memory": "128Mi"}, {"cpu": "50m", "memory": "256Mi"}),
    ],
)
def test_a_bound_takes_the_default_of_the_other_along(
    kube_api: KubeApi, space: str, annotations: Mapping[str, str], requests: Any, limits: Any
) -> None:
    asked = {f"turnout.dev/{name}": value for name, value in annotations.items()}

    spec = tried(kube_api, pod(annotations=asked), space)["spec"]

    assert {"requests": requests, "limits": limits} == spec["initContainers"][0]["resources"]


def test_a_limit_range_fills_in_what_is_left_open(kube_api: KubeApi, space: str) -> None:
    assert space
    limited = kube_api.namespace()
    limits = [{"type": "Container", "default": {"cpu": "500m"}}]
    kube_api.apply(
        [{"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "all"}, "spec": {"limits": limits}}],
        namespace=limited,
    )

    found = tried(kube_api, pod(), limited)["spec"]["initContainers"][0]["resources"]

    assert {"cpu": "500m", "memory": "256Mi"} == found["limits"]


def test_keys_as_files_are_mounted_where_the_configuration_names_them(kube_api: KubeApi, space: str) -> None:
    annotations = {"turnout.dev/secret": "keys", "turnout.dev/secret-as": "files"}

    spec = tried(kube_api, pod(annotations=annotations), space)["spec"]

    sidecar = named(spec["initContainers"], "turnout")
    assert "envFrom" not in sidecar
    assert {"name": "turnout-keys", "mountPath": "/run/secrets/turnout", "readOnly": True} in sidecar["volumeMounts"]
    assert "keys" == named(spec["volumes"], "turnout-keys")["secret"]["secretName"]


@pytest.mark.parametrize("context", [None, {}, {"supplementalGroups": [7]}, {"supplementalGroups": [65532]}])
def test_a_socket_is_mounted_by_all_and_its_group_joined(kube_api: KubeApi, space: str, context: Any) -> None:
    wanted = pod(
        container("answers", volumeMounts=[{"name": "own", "mountPath": "/own"}]),
        container("beside"),
        annotations={"turnout.dev/socket": "true"},
        initContainers=[container("migrate")],
        volumes=[{"name": "own", "emptyDir": {}}],
        **({} if context is None else {"securityContext": context}),
    )

    spec = tried(kube_api, wanted, space)["spec"]

    others = [*spec["initContainers"][1:], *spec["containers"]]
    assert ["migrate", "answers", "beside"] == [each["name"] for each in others]
    for each in others:
        assert {"TURNOUT_ADDRESS": "unix:///run/turnout/turnout.sock"} == environment(each)
        assert {"name": "turnout-socket", "mountPath": "/run/turnout", "readOnly": True} == each["volumeMounts"][-1]
    assert ["own", "turnout-scratch", "turnout-socket"] == [each["name"] for each in spec["volumes"]]
    expected = [7, 65532] if context == {"supplementalGroups": [7]} else [65532]
    assert expected == spec["securityContext"]["supplementalGroups"]


def test_init_containers_start_after_turnout_and_are_told_its_address(kube_api: KubeApi, space: str) -> None:
    wanted = pod(initContainers=[container("one"), container("two", env=[{"name": "A", "value": "b"}])])

    starting = tried(kube_api, wanted, space)["spec"]["initContainers"]

    assert ["turnout", "one", "two"] == [each["name"] for each in starting]
    assert [ADDRESS, {"A": "b", **ADDRESS}] == [environment(each) for each in starting[1:]]


def test_a_container_that_calls_another_turnout_goes_on_doing_so(kube_api: KubeApi, space: str) -> None:
    own = [{"name": "TURNOUT_ADDRESS", "value": "turnout.llm:50151"}]

    spec = tried(kube_api, pod(container("answers", env=own), container("beside")), space)["spec"]

    assert ["turnout.llm:50151", ADDRESS["TURNOUT_ADDRESS"]] == [
        environment(each)["TURNOUT_ADDRESS"] for each in spec["containers"]
    ]


@pytest.mark.parametrize(
    ("annotations", "words"),
    [
        ({"cpu-request": "abc"}, 'turnout.dev/cpu-request: must be a quantity above 0, such as 100m; got "abc"'),
        ({"memory-limit": "-1"}, 'turnout.dev/memory-limit: must be a quantity above 0, such as 256Mi; got "-1"'),
        (
            {"cpu-request": "2", "cpu-limit": "1"},
            "cpu-request: must not be more than turnout.dev/cpu-limit, 1; got 2",
        ),
        ({"image": ""}, "turnout.dev/image: must be an image, such as registry.example.com/turnout:0.1.0"),
        ({"image": "a\nb"}, "turnout.dev/image: must be an image, such as registry.example.com/turnout:0.1.0"),
        ({"config": "a..b"}, "turnout.dev/config: must be the name of a ConfigMap in the namespace of the Pod"),
        ({"config": "A_b"}, "turnout.dev/config: must be the name of a ConfigMap in the namespace of the Pod"),
        ({"secret": "../x"}, "turnout.dev/secret: must be the name of a Secret in the namespace of the Pod"),
        ({"secret-as": "file"}, 'turnout.dev/secret-as: must be env or files; got "file"'),
        ({"socket": "yes"}, 'turnout.dev/socket: must be "true" or "false"; got "yes"'),
        ({"port": "80"}, 'turnout.dev/port: must be a port from 1024 to 65535; got "80"'),
        ({"health-port": "70000"}, 'turnout.dev/health-port: must be a port from 1024 to 65535; got "70000"'),
        ({"metrics-port": "50152"}, "each needs a port of its own; got 50151, 50152, 50152"),
        ({"memory-limits": "1Gi"}, "turnout.dev/memory-limits: is not known; turnout.dev/ has image, config, secret"),
    ],
)
def test_an_annotation_that_cannot_be_used_refuses_the_pod_in_words(
    kube_api: KubeApi, space: str, annotations: Mapping[str, str], words: str
) -> None:
    asked = {f"turnout.dev/{name}": value for name, value in annotations.items()}

    assert words in refused(kube_api, pod(annotations=asked), space)


def test_a_label_that_is_neither_yes_nor_no_refuses_the_pod(kube_api: KubeApi, space: str) -> None:
    assert 'turnout.dev/inject: must be "true" or "false"; got "yes"' in refused(kube_api, pod(label="yes"), space)


def test_a_pod_of_the_hosts_network_is_refused(kube_api: KubeApi, space: str) -> None:
    assert space
    open_space = kube_api.namespace(enforce="privileged")

    assert "shares 127.0.0.1 with its whole node" in refused(kube_api, pod(hostNetwork=True), open_space)


def test_a_pod_for_windows_is_refused_in_words(kube_api: KubeApi, space: str) -> None:
    # Or else it is the API server's own validation that speaks, of fields that nobody wrote.
    assert space
    open_space = kube_api.namespace(enforce="privileged")
    plain = {"name": "answers", "image": "example.com/answers:1.0"}

    assert "a Pod for Windows cannot have Turnout" in refused(kube_api, pod(plain, os={"name": "windows"}), open_space)
    linux = tried(kube_api, pod(plain, os={"name": "linux"}), open_space)
    assert ["turnout"] == [each["name"] for each in linux["spec"]["initContainers"]]


def test_a_port_of_the_applications_own_is_not_taken(kube_api: KubeApi, space: str) -> None:
    wanted = container("answers", ports=[{"containerPort": 9464}])

    assert "container answers: has a port that Turnout would use" in refused(kube_api, pod(wanted), space)
    moved = pod(wanted, annotations={"turnout.dev/metrics-port": "9465"})
    assert 9465 in [
        port["containerPort"] for port in tried(kube_api, moved, space)["spec"]["initContainers"][0]["ports"]
    ]


def test_the_same_number_of_another_protocol_is_another_port(kube_api: KubeApi, space: str) -> None:
    wanted = container("answers", ports=[{"containerPort": 9464, "protocol": "UDP"}])

    assert ["turnout"] == [each["name"] for each in tried(kube_api, pod(wanted), space)["spec"]["initContainers"]]


def test_a_volume_of_the_applications_own_is_not_taken_for_the_configuration(kube_api: KubeApi, space: str) -> None:
    wanted = pod(volumes=[{"name": "turnout-config", "emptyDir": {}}], annotations={"turnout.dev/config": "answers"})

    assert "volume turnout-config, turnout-keys: are names of the volumes that Turnout" in refused(
        kube_api, wanted, space
    )


def test_a_folder_of_the_applications_own_is_not_taken_for_the_socket(kube_api: KubeApi, space: str) -> None:
    mounting = container("answers", volumeMounts=[{"name": "own", "mountPath": "/run/turnout"}])
    volumes = [{"name": "own", "emptyDir": {}}]
    wanted = pod(mounting, volumes=volumes, annotations={"turnout.dev/socket": "true"})

    assert "annotation turnout.dev/socket: a container mounts a volume of its own" in refused(kube_api, wanted, space)
    spec = tried(kube_api, pod(mounting, volumes=volumes), space)["spec"]
    assert ["turnout"] == [each["name"] for each in spec["initContainers"]]


def test_a_large_pod_does_not_cost_more_than_a_policy_may(kube_api: KubeApi, space: str) -> None:
    variables = [{"name": f"V{number}", "value": "x"} for number in range(100)]
    wanted = pod(*(container(f"c{number}", env=variables) for number in range(60)))

    spec = tried(kube_api, wanted, space)["spec"]

    assert {101} == {len(each["env"]) for each in spec["containers"]}
