"""Pools of keys as an operator has them: configuration and keys in files, a provider over HTTP, a real sidecar."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner

from tests.api.gatekeeper import FINE, NO_MONEY, SLOW_DOWN, UNKNOWN_KEY, Gatekeeper, gatekeeper
from tests.api.sidecar import HELLO, reason
from tests.unit.config.loading import loaded
from turnout.v1 import router_pb2 as pb
from turnout.v1 import router_pb2_grpc
from turnout_server.app import running
from turnout_server.commands.status import status

CONFIGURATION = """
listen: {{address: "127.0.0.1:0"}}
health: {{address: ""}}
metrics: {{address: ""}}
providers:
  house:
    wire: openai
    base_url: {url}
    allow_insecure: true
    allow_private: true
    models: [{{name: small, capabilities: [], quality: 80}}]
    {keys}
"""


class Sidecar:
    """A running sidecar, and what a test asks it."""

    def __init__(self, address: str, stub: Any) -> None:
        self.address = address
        self.stub = stub

    async def execute(self, tenant: str = "") -> pb.ExecuteResponse:
        request = pb.ExecuteRequest(input=HELLO, caller=pb.Caller(tenant=tenant))
        response: pb.ExecuteResponse = await self.stub.Execute(request, timeout=60)
        return response

    async def used(self, tenant: str = "") -> list[str]:
        """Makes a call; returns the labels of the keys that it used, in order."""
        return [attempt.credential for attempt in (await self.execute(tenant)).attempts]

    async def keys(self) -> dict[str, pb.CredentialState]:
        report = await self.stub.ProviderStatus(pb.ProviderStatusRequest(), timeout=60)
        return {key.label: key for key in report.providers[0].endpoints[0].credentials}


@asynccontextmanager
async def sidecar(folder: Path, provider: Gatekeeper, keys: str) -> AsyncIterator[Sidecar]:
    text = CONFIGURATION.format(url=provider.url, keys=keys)
    async with (
        running(loaded(folder, text), {}, secrets_every_seconds=0.1) as listening,
        grpc.aio.insecure_channel(listening.grpc[0]) as channel,
    ):
        yield Sidecar(listening.grpc[0], router_pb2_grpc.RouterServiceStub(channel))


def pool(folder: Path, **secrets: str) -> str:
    """A pool of keys in files: label=secret, with `_` and a number at the end of a label for its weight."""
    rows = []
    for label, secret in secrets.items():
        name, _, weight = label.partition("_")
        (folder / name).write_text(secret)
        rows.append(f"{{name: {name}, api_key_file: {folder / name}, weight: {weight or 1}}}")
    return f"credentials: [{', '.join(rows)}]"


async def test_calls_are_shared_among_keys_by_weight(tmp_path: Path) -> None:
    async with (
        gatekeeper(one=FINE, two=FINE, spare=FINE) as provider,
        sidecar(tmp_path, provider, pool(tmp_path, main_3="one", other_1="two", last_0="spare")) as house,
    ):
        for _ in range(80):
            await house.execute()

    found = Counter(provider.keys)

    assert set(found) == {"one", "two"}
    assert 40 < found["one"] < 76


@pytest.mark.parametrize("refusal", [UNKNOWN_KEY, SLOW_DOWN, NO_MONEY], ids=["401", "429", "quota"])
async def test_refused_key_is_followed_by_another_within_the_call(tmp_path: Path, refusal: object) -> None:
    async with (
        gatekeeper(good=FINE) as provider,
        sidecar(tmp_path, provider, pool(tmp_path, first="bad", second_0="good")) as house,
    ):
        provider.replies["bad"] = refusal  # type: ignore[assignment]  # a Reply, which pytest shows as an object
        used = await house.used()

    assert used == ["first", "second"]
    assert provider.keys == ["bad", "good"]


async def test_cooling_key_is_left_alone_and_shown_by_its_label(tmp_path: Path) -> None:
    async with (
        gatekeeper(slow=SLOW_DOWN, good=FINE) as provider,
        sidecar(tmp_path, provider, pool(tmp_path, first="slow", second_0="good")) as house,
    ):
        await house.execute()
        used = await house.used()
        keys = await house.keys()
        shown = await asyncio.to_thread(CliRunner().invoke, status, ["--address", house.address])

    assert used == ["second"]
    assert (keys["first"].usable, keys["first"].failure) == (False, pb.FAILURE_KIND_RATE_LIMITED)
    assert keys["first"].HasField("retry_at")
    assert keys["second"].usable
    line = next(line for line in shown.output.splitlines() if line.startswith("house first"))
    assert "RATE_LIMITED" in line
    assert " s " in line
    assert "bad" not in shown.output


async def test_keys_that_can_all_be_used_are_not_listed(tmp_path: Path) -> None:
    async with (
        gatekeeper(good=FINE) as provider,
        sidecar(tmp_path, provider, pool(tmp_path, first="good")) as house,
    ):
        shown = await asyncio.to_thread(CliRunner().invoke, status, ["--address", house.address])

    assert "KEY" not in shown.output


async def test_key_of_a_tenant_is_used_for_it_alone(tmp_path: Path) -> None:
    (tmp_path / "acme").write_text("acmes")
    (tmp_path / "all").write_text("everybodys")
    keys = f"""credentials:
      - {{name: all, api_key_file: {tmp_path}/all, weight: 100}}
      - {{name: acmes, api_key_file: {tmp_path}/acme, tenants: [acme]}}"""
    async with (
        gatekeeper(acmes=FINE, everybodys=FINE) as provider,
        sidecar(tmp_path, provider, keys) as house,
    ):
        used = [await house.used(tenant) for tenant in ("acme", "bolt", "", "acme")]
        provider.replies["acmes"] = SLOW_DOWN
        fallen_back = await house.used("acme")
        provider.replies["everybodys"] = SLOW_DOWN
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await house.execute("bolt")

    assert used == [["acmes"], ["all"], ["all"], ["acmes"]]
    assert fallen_back == ["acmes", "all"]
    assert reason(caught.value) == "ALL_ATTEMPTS_REFUSED"
    assert provider.keys[-1] == "everybodys"


async def test_new_key_in_a_file_is_used_although_the_old_one_cools(tmp_path: Path) -> None:
    async with (
        gatekeeper(old=NO_MONEY, new=FINE) as provider,
        sidecar(tmp_path, provider, pool(tmp_path, only="old")) as house,
    ):
        with pytest.raises(grpc.aio.AioRpcError):
            await house.execute()
        cooling = (await house.keys())["only"].usable
        replacement = tmp_path / "replacement"
        replacement.write_text("new")
        # As Kubernetes does it: another file in the place of the first.
        replacement.rename(tmp_path / "only")
        for _ in range(1000):
            if (await house.keys())["only"].usable:
                break
            await asyncio.sleep(0.05)
        used = await house.used()

    assert not cooling
    assert used == ["only"]
    assert provider.keys == ["old", "new"]


@pytest.mark.full
async def test_token_from_a_command_is_sent_and_run_again_when_it_is_refused(tmp_path: Path) -> None:
    script = f"cat {tmp_path}/token"
    (tmp_path / "token").write_text("tok1\n")
    keys = f'token: {{command: [sh, -c, "{script}"], refresh_seconds: 0.2}}'
    async with gatekeeper(tok1=FINE) as provider, sidecar(tmp_path, provider, keys) as house:
        first = await house.used()
        (tmp_path / "token").write_text("tok2\n")
        provider.replies = {"tok2": FINE}
        for _ in range(1000):
            try:
                await house.execute()
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.05)
            else:
                break

    assert first == ["token"]
    assert provider.keys[0] == "tok1"
    assert provider.keys[-1] == "tok2"


async def test_token_from_a_file_goes_before_a_single_key(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("tok")
    (tmp_path / "key").write_text("key")
    keys = f"token: {{file: {tmp_path}/token}}\n    api_key_file: {tmp_path}/key"
    async with gatekeeper(key=FINE) as provider, sidecar(tmp_path, provider, keys) as house:
        used = await house.used()

    assert used == ["token", "api_key_file"]
    assert provider.keys == ["tok", "key"]
