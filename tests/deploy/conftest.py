"""What the tests of charts share: one API server for all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.kube_api import KubeApi, Tools, running_kube_api
from tests.tool_paths import working


@pytest.fixture(scope="session")
def kube_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeApi]:
    tools = Tools(
        etcd=working("etcd", "--version"),
        kube_apiserver=working("kube-apiserver", "--version"),
        kubectl=working("kubectl", "version", "--client"),
        openssl=working("openssl", "version"),
    )
    with running_kube_api(tools, tmp_path_factory.mktemp("kube-api")) as running:
        yield running
