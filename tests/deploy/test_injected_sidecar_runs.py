"""What is injected runs: the container that comes back from the API server, as a process; its startup probe, as a
kubelet makes it; and the application's call, with the variable that it was given.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # has no types

from tests.deploy.helm_chart import Helm, helm
from tests.deploy.injection import in_force, pod, policies, tried
from tests.deploy.kube_api import KubeApi
from tests.deploy.sidecar_chart import environment, named

__all__ = ["helm"]  # a fixture

TURNOUT = (sys.executable, "-m", "turnout_server.main")
CONFIGURATION = """\
listen: {address: "127.0.0.1:1"}     # the variables of the container beat it
health: {address: ""}
providers:
  house: {wire: openai, base_url: "https://house.example/v1", models: [{name: small, context_window_tokens: 8000}]}
"""


@pytest.mark.full
@pytest.mark.timeout(300)
def test_the_probe_passes_and_the_application_gets_through(kube_api: KubeApi, helm: Helm, tmp_path: Path) -> None:
    space = kube_api.namespace()
    with socket.socket() as one, socket.socket() as two, socket.socket() as three:
        ports = []
        for each in (one, two, three):
            each.bind(("127.0.0.1", 0))
            ports.append(str(each.getsockname()[1]))
    annotations = {
        f"turnout.dev/{name}port": port for name, port in zip(("", "health-", "metrics-"), ports, strict=True)
    }
    wanted = pod(annotations={"turnout.dev/config": "turnout", **annotations})
    with in_force(kube_api, policies(helm), lambda: "initContainers" in tried(kube_api, pod(), space)["spec"]):
        spec = tried(kube_api, wanted, space)["spec"]
    container = named(spec["initContainers"], "turnout")
    (tmp_path / "turnout.yaml").write_text(CONFIGURATION)
    mounted = environment(container)["TURNOUT_CONFIG"]
    assert Path(mounted).parent == Path(named(container["volumeMounts"], "turnout-config")["mountPath"])
    written = environment(container)["TURNOUT_STATE__SNAPSHOT_FILE"]
    assert Path(written).parent == Path(named(container["volumeMounts"], "turnout-scratch")["mountPath"])

    here = {
        "TURNOUT_CONFIG": str(tmp_path / "turnout.yaml"),
        "TURNOUT_STATE__SNAPSHOT_FILE": str(tmp_path / "snapshot"),
    }

    process = subprocess.Popen(  # noqa: S603 - our own program
        [*TURNOUT, *container["args"]],
        env=_bare(environment(container) | here),
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        assert b'"listening"' in process.stdout.readline()
        with grpc.insecure_channel(f"127.0.0.1:{container['startupProbe']['grpc']['port']}") as channel:
            asked = health_pb2.HealthCheckRequest(service=container["startupProbe"]["grpc"]["service"])
            probed = health_pb2_grpc.HealthStub(channel).Check(asked, timeout=60)
        called = subprocess.run(  # noqa: S603 - our own program
            [*TURNOUT, "status"],
            env=_bare(environment(spec["containers"][0])),
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        process.terminate()
        ended = process.wait(60)
        process.stdout.close()

    assert health_pb2.HealthCheckResponse.SERVING == probed.status
    assert 0 == called.returncode, called.stderr
    assert "house/small" in called.stdout
    assert 0 == ended
    assert (tmp_path / "snapshot").exists()


def _bare(environ: dict[str, str]) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], **environ}
