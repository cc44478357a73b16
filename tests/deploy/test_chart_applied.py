"""The application chart where it goes: before a real API server, and run as its Pods would run it."""

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # has no types

from tests.cli.processes import COMMAND, environment, run
from tests.deploy.helm_chart import CHART, OF_OPERATORS, VALUES_FILES, Helm, Manifest, configuration_of, helm, one
from tests.deploy.kube_api import KubeApi, RefusedError, pod_of
from tests.tool_paths import working

__all__ = ["helm"]

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

RELEASED = Path(__file__).parent / "released"
READY_SECONDS = 60
SIMULATED = {
    "simulated-anthropic/large",
    "simulated-openai/medium",
    "simulated-gemini/small",
    "simulated-ollama/local-small",
}


def for_cluster(manifests: list[Manifest], space: str) -> list[Manifest]:
    """What a bare API server can take: without kinds of operators, and in a namespace that is there."""
    known = [each for each in manifests if each["apiVersion"] != OF_OPERATORS]
    renamed: list[Manifest] = json.loads(json.dumps(known).replace('"namespace": "llm"', f'"namespace": "{space}"'))
    return renamed


@pytest.mark.parametrize("values", VALUES_FILES, ids=lambda file: file.stem)
def test_a_cluster_that_enforces_restricted_takes_everything(kube_api: KubeApi, helm: Helm, values: Path) -> None:
    space = kube_api.namespace()
    manifests = for_cluster(helm.rendered(values), space)
    kube_api.apply(manifests, namespace=space, dry_run=True)
    made = kube_api.apply(manifests, namespace=space)
    pod = kube_api.create(pod_of(one(made, "Deployment"), "one-of-them"), namespace=space)

    assert len(manifests) == len(made)
    assert ["turnout"] == [container["name"] for container in pod["spec"]["containers"]]


def test_a_pod_that_is_not_restricted_any_more_is_refused(kube_api: KubeApi, helm: Helm) -> None:
    # Or else the test above could not fail.
    space = kube_api.namespace()
    manifests = for_cluster(helm.rendered({"securityContext": {"allowPrivilegeEscalation": True}}), space)

    with pytest.raises(RefusedError, match="allowPrivilegeEscalation"):
        kube_api.apply(manifests, namespace=space)


@pytest.mark.parametrize("released", sorted(RELEASED.glob("*.yaml")), ids=lambda file: file.stem)
def test_a_cluster_takes_the_upgrade_from_what_was_released(kube_api: KubeApi, helm: Helm, released: Path) -> None:
    space = kube_api.namespace()
    before = for_cluster([each for each in yaml.safe_load_all(released.read_text()) if each], space)
    # The Pod of a test is a hook: helm makes it anew each time.
    before = [each for each in before if each["kind"] != "Pod"]
    kube_api.apply(before, namespace=space)
    now = for_cluster(helm.rendered(CHART / "ci" / f"{released.stem.split('-', 2)[2]}-values.yaml"), space)
    kube_api.apply([each for each in now if each["kind"] != "Pod"], namespace=space)

    assert {each["metadata"]["name"] for each in before} <= {each["metadata"]["name"] for each in now}


def test_helm_installs_upgrades_and_removes_it(kube_api: KubeApi, helm: Helm) -> None:
    space = kube_api.namespace()
    there: list[str | Path] = ["--kubeconfig", kube_api.kubeconfig, "--namespace", space]
    installed = helm.run("install", "shop", CHART, *there)
    first = kube_api.get("deployment", "shop-turnout", namespace=space)
    # From trying it to using it, and from one Service to two.
    values = CHART / "ci/tls-values.yaml"
    upgraded = helm.run("upgrade", "shop", CHART, *there, "--values", values, "--set", "service.headless=true")
    second = kube_api.get("deployment", "shop-turnout", namespace=space)
    removed = helm.run("uninstall", "shop", *there)

    assert [0, 0, 0] == [ended.returncode for ended in (installed, upgraded, removed)], (
        installed.stderr + upgraded.stderr
    )
    assert "SIMULATED" in installed.stdout
    assert "SIMULATED" not in upgraded.stdout
    assert first["metadata"]["uid"] == second["metadata"]["uid"]
    assert first["spec"]["template"] != second["spec"]["template"]
    with pytest.raises(RefusedError, match="not found"):
        kube_api.get("configmap", "shop-turnout", namespace=space)


def test_as_many_pods_go_on_when_scaling_is_handed_over(kube_api: KubeApi, helm: Helm) -> None:
    space = kube_api.namespace()
    there: list[str | Path] = ["shop", CHART, "--kubeconfig", kube_api.kubeconfig, "--namespace", space]

    def pods_after(command: str, *values: str) -> int:
        ended = helm.run(command, *there, *(word for value in values for word in ("--set", value)))
        assert 0 == ended.returncode, ended.stderr
        return int(kube_api.get("deployment", "shop-turnout", namespace=space)["spec"]["replicas"])

    assert 3 == pods_after("install", "replicaCount=3")
    assert 3 == pods_after("upgrade", "autoscaling.enabled=true")
    # As the autoscaler does it.
    kube_api.kubectl("scale", "deployment/shop-turnout", "--replicas=5", "-n", space)
    assert 5 == pods_after("upgrade", "autoscaling.enabled=true", "service.headless=true")
    # An autoscaler leaves a Deployment of none alone, and so does an upgrade where somebody else has said so.
    kube_api.kubectl("scale", "deployment/shop-turnout", "--replicas=0", "-n", space)
    assert 0 == pods_after("upgrade", "autoscaling.enabled=true")
    helm.run("uninstall", "shop", *there[2:])
    assert 0 == pods_after("install", "replicaCount=0")
    assert 1 == pods_after("upgrade", "autoscaling.enabled=true")


def test_without_a_key_its_pod_answers(helm: Helm, tmp_path: Path) -> None:
    grpc_port, health_port, metrics_port, simulated_port = free_ports(4)
    values = {"listener": {"port": grpc_port}, "health": {"port": health_port}, "metrics": {"port": metrics_port}}
    manifests = helm.rendered(values)
    spec = one(manifests, "Deployment")["spec"]["template"]["spec"]
    (simulated,), (turnout,) = spec["initContainers"], spec["containers"]
    file = tmp_path / "turnout.yaml"
    file.write_text(configuration_of(manifests).replace("50160", str(simulated_port)))
    asked = [
        argument.replace("50160", str(simulated_port)) for argument in simulated["startupProbe"]["exec"]["command"]
    ]
    test = one(manifests, "Pod")["spec"]["containers"][0]
    here = {"TURNOUT_ADDRESS": f"127.0.0.1:{grpc_port}"}

    def simulated_started() -> bool:
        return subprocess.run([sys.executable, *asked[1:]], check=False, capture_output=True).returncode == 0  # noqa: S603 - ours

    assert not simulated_started()
    with ExitStack() as stack:
        arguments = [str(simulated_port) if each == "50160" else each for each in simulated["args"]]
        started = stack.enter_context(process(arguments))
        wait(started, simulated_started)
        started = stack.enter_context(
            process([str(file) if each.startswith("/etc/") else each for each in turnout["args"]])
        )
        wait(started, lambda: serving(turnout["readinessProbe"]["grpc"]["port"]))
        answered = {target: run("ask", "Why?", "--target", target, env=here) for target in SIMULATED}
        looked = run(*test["args"], env=here)

    assert [] == [(target, ended.err) for target, ended in answered.items() if ended.code or not ended.out.strip()]
    assert 0 == looked.code, looked.err
    # The local server has more models, which are found while it runs.
    assert set(re.findall(r"^(\S+/\S+)", looked.out, re.MULTILINE)) >= SIMULATED


@pytest.mark.parametrize("shown", ["token", "certificate"])
def test_with_tls_its_own_test_gets_in_and_nobody_else(helm: Helm, tmp_path: Path, shown: str) -> None:
    grpc_port, health_port, metrics_port = free_ports(3)
    certificates(working("openssl", "version"), tmp_path)
    (tmp_path / "turnout-tokens").mkdir()
    (tmp_path / "turnout-tokens/app").write_text("a-token-of-an-application-3141592653")
    (tmp_path / "turnout-tokens/operator").write_text("a-token-of-an-operator-2718281828459")
    given = yaml.safe_load((CHART / "ci/tls-values.yaml").read_text())
    given["listener"] |= {"port": grpc_port, "host": "0.0.0.0"}
    if shown == "token":
        given["listener"]["tls"]["clientCaSecret"] = given["test"]["clientCertSecret"] = ""
    else:
        given["listener"]["tokens"] = []
    # A key, so that a provider is there; it is never called.
    manifests = helm.rendered({**given, "health": {"port": health_port}, "metrics": {"port": metrics_port}})
    mounted = {
        "/run/turnout-tls/": "server-",
        "/run/turnout-client-ca/": "server-",
        "/run/turnout-client/": "caller-",
        "/run/turnout-tokens/": "",
    }

    def here(text: str) -> str:
        for folder, beginning in mounted.items():
            text = text.replace(folder, f"{tmp_path}/{beginning}")
        return text.replace("shop-turnout.llm.svc", "localhost")

    file = tmp_path / "turnout.yaml"
    file.write_text(here(configuration_of(manifests)))
    test = one(manifests, "Pod")["spec"]["containers"][0]
    env = {variable["name"]: here(variable["value"]) for variable in test["env"]}
    if shown == "token":
        # In its Pod the token's file stands in no folder of its Secret's name.
        env["TURNOUT_TOKEN_FILE"] = f"{tmp_path}/turnout-tokens/{Path(env['TURNOUT_TOKEN_FILE']).name}"
    stranger = {name: env[name] for name in ("TURNOUT_ADDRESS", "TURNOUT_CA_FILE")}

    with process(["serve", "-c", str(file)]) as started:
        wait(started, lambda: serving(health_port))
        looked = run(*test["args"], env=env)
        refused = run(*test["args"], env=stranger)

    assert 0 == looked.code, looked.err
    assert 0 != refused.code


def certificates(openssl: Path, folder: Path) -> None:
    """An authority, and by it the certificates of a server and of a caller, named as in their Secrets."""

    def made(arguments: str) -> None:
        subprocess.run([openssl, *arguments.split()], cwd=folder, check=True, capture_output=True)  # noqa: S603 - ours

    made("req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=authority -keyout ca.key -out server-ca.crt")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    by = "-CA server-ca.crt -CAkey ca.key -days 1 -extfile names"
    for name in ("server", "caller"):
        made(f"req -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}-tls.key -out {name}.csr")
        made(f"x509 -req -in {name}.csr {by} -out {name}-tls.crt")


def serving(port: int) -> bool:
    """What a kubelet's probe by gRPC asks."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            status = stub.Check(health_pb2.HealthCheckRequest(), timeout=5).status
        except grpc.RpcError:
            return False
        return bool(status == health_pb2.HealthCheckResponse.SERVING)


def wait(started: subprocess.Popen[str], true: Any) -> None:
    until = time.monotonic() + READY_SECONDS
    while not true():
        assert started.poll() is None, started.stderr.read() if started.stderr is not None else ""
        assert time.monotonic() < until, "it did not come up"
        time.sleep(0.05)


@contextmanager
def process(arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    started = subprocess.Popen(  # noqa: S603 - ours
        [*COMMAND, *arguments], env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    with started:
        try:
            yield started
        finally:
            started.terminate()
            started.communicate(timeout=READY_SECONDS)


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
