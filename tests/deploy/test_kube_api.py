"""The API server that manifests are held to refuses what a cluster would refuse."""

import pytest

from tests.deploy.kube_api import KubeApi, Manifest, RefusedError

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

POD: Manifest = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "bare"},
    "spec": {"containers": [{"name": "one", "image": "example.com/one:1"}]},
}


def test_a_pod_that_is_not_restricted_is_refused(kube_api: KubeApi) -> None:
    with pytest.raises(RefusedError, match='violates PodSecurity "restricted'):
        kube_api.create(POD, namespace=kube_api.namespace())


def test_a_field_that_kubernetes_does_not_know_is_refused(kube_api: KubeApi) -> None:
    spec = {**POD["spec"], "hostNamee": "x"}

    with pytest.raises(RefusedError, match="hostNamee"):
        kube_api.apply([{**POD, "spec": spec}], namespace=kube_api.namespace(enforce="privileged"))


def test_a_dry_run_leaves_nothing_behind(kube_api: KubeApi) -> None:
    space = kube_api.namespace(enforce="privileged")

    made = kube_api.create(POD, namespace=space, dry_run=True)

    assert "bare" == made["metadata"]["name"]
    with pytest.raises(RefusedError, match="not found"):
        kube_api.get("pod", "bare", namespace=space)
