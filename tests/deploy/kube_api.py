"""A bare Kubernetes API server, whose admission is a cluster's own: it accepts, changes and refuses what one would.

There are no controllers and no kubelet beside it: a Deployment makes no Pods, and nothing runs. Field validation,
defaults, admission policies, Pod Security and server-side dry run are all there, which is what manifests are held to.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import yaml

TOKEN = "admin-of-a-server-that-only-loopback-reaches"
READY_SECONDS = 90
"""How long a start may take on a busy machine; it takes five seconds on an idle one."""

_ETCD = """\
--data-dir {folder}/etcd --listen-client-urls http://127.0.0.1:{client} --advertise-client-urls http://127.0.0.1:{client}
--listen-peer-urls http://127.0.0.1:{peer} --initial-advertise-peer-urls http://127.0.0.1:{peer}
--initial-cluster default=http://127.0.0.1:{peer} --unsafe-no-fsync"""
_API_SERVER = """\
--etcd-servers=http://127.0.0.1:{client} --bind-address=127.0.0.1 --secure-port={api} --cert-dir={folder}/certificates
--service-account-key-file={folder}/sa.key --service-account-signing-key-file={folder}/sa.key
--service-account-issuer=https://kubernetes.default.svc --token-auth-file={folder}/tokens.csv --authorization-mode=RBAC
--service-cluster-ip-range=10.0.0.0/24 --disable-admission-plugins=ServiceAccount --endpoint-reconciler-type=none"""

Manifest = Mapping[str, Any]


class NotReadyError(Exception):
    """The API server or its store ended early, or was not ready in time. The message has the end of its log."""


class RefusedError(Exception):
    """The API server would not take a manifest. The message is what kubectl said."""


@dataclass(frozen=True, kw_only=True)
class Tools:
    """The programs that are needed, as paths."""

    etcd: Path
    kube_apiserver: Path
    kubectl: Path
    openssl: Path


@dataclass(frozen=True, kw_only=True)
class KubeApi:
    """A running API server and the way to it."""

    kubectl_path: Path
    kubeconfig: Path
    _numbers: Iterator[int] = field(default_factory=count)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Runs kubectl as administrator and returns its stdout. Raises RefusedError with its stderr."""
        run = subprocess.run(  # noqa: S603 - a tool of the tests
            [self.kubectl_path, "--kubeconfig", self.kubeconfig, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        if run.returncode:
            raise RefusedError(run.stderr.strip() or run.stdout.strip())
        return run.stdout

    def namespace(self, name: str = "", *, enforce: str = "restricted", labels: Mapping[str, str] | None = None) -> str:
        """Makes a namespace that enforces a Pod Security level, and returns its name: a new one where none is given.

        It warns at that level too, so that a workload whose Pods would be refused is refused itself by `apply`.
        """
        name = name or f"space-{next(self._numbers)}"
        levels = {f"pod-security.kubernetes.io/{mode}": enforce for mode in ("enforce", "warn")}
        wanted = {**levels, **(labels or {})}
        self.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": wanted}}])
        return name

    def apply(
        self, manifests: str | Sequence[Manifest], *, namespace: str = "default", dry_run: bool = False
    ) -> list[dict[str, Any]]:
        """Applies manifests, server-side and with strict field validation, and returns what the server made of them.

        Raises RefusedError where the server refuses one, and where it only warns: a manifest that Pod Security or a
        deprecation warns of is not one that should be shipped.
        """
        text = manifests if isinstance(manifests, str) else yaml.safe_dump_all(manifests)
        arguments = ["apply", "--server-side", "--validate=strict", "--warnings-as-errors", "--output=json"]
        arguments += ["--namespace", namespace, "--filename=-", *(["--dry-run=server"] if dry_run else [])]
        answer = json.loads(self.kubectl(*arguments, stdin=text))
        return list(answer["items"]) if answer["kind"] == "List" else [answer]

    def create(self, manifest: Manifest, *, namespace: str = "default", dry_run: bool = False) -> dict[str, Any]:
        """Creates one object as a controller would, and returns it as admission left it. Raises RefusedError."""
        arguments = ["create", "--validate=strict", "--output=json", "--namespace", namespace, "--filename=-"]
        made: dict[str, Any] = json.loads(
            self.kubectl(*arguments, *(["--dry-run=server"] if dry_run else []), stdin=json.dumps(manifest))
        )
        return made

    def get(self, kind: str, name: str, *, namespace: str = "default") -> dict[str, Any]:
        """Reads one object. Raises RefusedError where there is none."""
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, name, "-n", namespace, "-o", "json"))
        return found


def pod_of(workload: Manifest, name: str) -> dict[str, Any]:
    """Makes the Pod that a controller would make of a Deployment's (or Job's, …) template."""
    template = workload["spec"]["template"]
    metadata = {key: template["metadata"][key] for key in ("labels", "annotations") if key in template["metadata"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": template["spec"]}


@contextmanager
def running_kube_api(tools: Tools, folder: Path) -> Iterator[KubeApi]:
    """Starts etcd and the API server in a folder, on free ports, and stops both in the end. Raises NotReadyError."""
    subprocess.run(  # noqa: S603 - a tool of the tests
        [tools.openssl, "genrsa", "-out", folder / "sa.key", "2048"], check=True, capture_output=True
    )
    (folder / "tokens.csv").write_text(f"{TOKEN},admin,admin,system:masters\n")
    with ExitStack() as stack:
        for trial in range(3):  # a port that was free a moment ago may have been taken since
            client, peer, api = _free_ports(3)
            places = {"folder": folder, "client": client, "peer": peer, "api": api}
            running = stack.enter_context(ExitStack())
            try:
                etcd = running.enter_context(_process(tools.etcd, _ETCD.format(**places), folder / "etcd.log"))
                _wait(f"http://127.0.0.1:{client}/health", etcd, folder / "etcd.log")
                server = running.enter_context(
                    _process(tools.kube_apiserver, _API_SERVER.format(**places), folder / "apiserver.log")
                )
                _wait(f"https://127.0.0.1:{api}/readyz", server, folder / "apiserver.log")
            except NotReadyError:
                running.close()
                if trial == 2 or "address already in use" not in _logs(folder):
                    raise
                continue
            yield KubeApi(kubectl_path=tools.kubectl, kubeconfig=_kubeconfig(folder, api))
            return


@contextmanager
def _process(program: Path, arguments: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - a tool of the tests
            [program, *arguments.split()], stdout=output, stderr=output, env={"PATH": os.environ["PATH"], "HOME": "/"}
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    trusting = ssl._create_unverified_context()  # noqa: S323 - its certificate is made at its start, on loopback
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})  # noqa: S310 - our own address
    until = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < until:
        try:
            with urllib.request.urlopen(request, context=trusting, timeout=5) as answer:  # noqa: S310 - as above
                if answer.status == 200:
                    return
        except OSError:
            pass
        time.sleep(0.1)
    ended = "did not start" if process.poll() is not None else f"was not ready within {READY_SECONDS} s"
    raise NotReadyError(f"{log.stem} {ended}: {log.read_text(errors='replace')[-2000:]}")


def _logs(folder: Path) -> str:
    return "".join(log.read_text(errors="replace") for log in folder.glob("*.log"))


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _kubeconfig(folder: Path, port: int) -> Path:
    path = folder / "kubeconfig"
    authority = str(folder / "certificates" / "apiserver.crt")
    named = [
        ("clusters", "cluster", {"server": f"https://127.0.0.1:{port}", "certificate-authority": authority}),
        ("users", "user", {"token": TOKEN}),
        ("contexts", "context", {"cluster": "bare", "user": "bare"}),
    ]
    config: dict[str, object] = {plural: [{"name": "bare", one: value}] for plural, one, value in named}
    path.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "current-context": "bare", **config}))
    return path
