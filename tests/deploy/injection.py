"""Installs the policies that inject Turnout into a real API server, and makes Pods for them to look at."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tests.deploy.helm_chart import Helm, Manifest
from tests.deploy.kube_api import KubeApi, RefusedError

IN_FORCE_SECONDS = 60
"""How long a policy may take to be in force on a busy machine; it takes a second or two on an idle one."""

RESTRICTED: Mapping[str, Any] = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def policies(helm: Helm, values: Mapping[str, Any] | None = None) -> list[Manifest]:
    """What `injection.enabled` adds to the application chart."""
    manifests = helm.rendered({"injection": {"enabled": True, **(values or {})}})
    return [each for each in manifests if "AdmissionPolicy" in each["kind"]]


@contextmanager
def in_force(kube_api: KubeApi, manifests: Sequence[Manifest], witness: Callable[[], bool]) -> Iterator[None]:
    """Applies policies, waits until the witness sees them at work, and takes them away in the end."""
    kube_api.apply(manifests)
    try:
        until = time.monotonic() + IN_FORCE_SECONDS
        while not witness():
            assert time.monotonic() < until, "the policies are not in force"
            time.sleep(0.2)
        yield
    finally:
        names = (f"{each['kind'].lower()}/{each['metadata']['name']}" for each in manifests)
        kube_api.kubectl("delete", "--ignore-not-found", *names)


def container(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "example.com/answers:1.0", "securityContext": dict(RESTRICTED), **fields}


def pod(
    *containers: Mapping[str, Any],
    label: str | None = "true",
    annotations: Mapping[str, str] | None = None,
    **spec: Any,
) -> Manifest:
    """A Pod as an application has it, that wants Turnout by its label unless it is said otherwise."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "answers",
            "labels": {"app": "answers", **({} if label is None else {"turnout.dev/inject": label})},
            **({"annotations": dict(annotations)} if annotations is not None else {}),
        },
        "spec": {"containers": list(containers or (container("answers"),)), **spec},
    }


def tried(kube_api: KubeApi, wanted: Manifest, space: str) -> dict[str, Any]:
    """Returns the Pod as the API server would store it, without storing it."""
    return kube_api.create(wanted, namespace=space, dry_run=True)


def refused(kube_api: KubeApi, wanted: Manifest, space: str) -> str:
    """Returns what is said where the Pod is refused; it is a failure where it is not."""
    try:
        made = tried(kube_api, wanted, space)
    except RefusedError as error:
        return str(error)
    raise AssertionError(f"the Pod was taken: {json.dumps(made)}")


def again(made: Mapping[str, Any], name: str) -> Manifest:
    """A Pod to create that is like one that was made, as of somebody who copies it out of the cluster."""
    metadata = {key: made["metadata"][key] for key in ("labels", "annotations") if key in made["metadata"]}
    spec = copy.deepcopy(made["spec"])
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": spec}
