"""Providers registered, changed and removed while it runs: under which rules, and what the provider sees of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from tests.administration.administered import (
    AS_CALLER,
    DENIED,
    HOUSE_KEY,
    NORTH,
    SOUTH,
    Administered,
    administered,
    refusal,
    refused,
    violations,
    written,
)
from tests.wire.scripted_server import ScriptedServer, Wait, json_answer, scripted_server
from tests.wire.speakers import OpenAISpeaker
from turnout.v1 import admin_pb2 as pb
from turnout.v1 import router_pb2
from turnout_server.reloading import changing

SPEAKER = OpenAISpeaker()
ADMIN = (
    "admin: {allow_register: true, allowed_hosts: [127.0.0.1, 'llm.example.com:8443'], allow_private: true, "
    "allow_insecure: true, "
    "credentials: [{name: house, api_key_env: HOUSE_KEY}, {name: gone, api_key_env: NOBODY}]}"
)
ALLOWED = written(more=f", {ADMIN}")


@pytest.fixture
async def provider() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as server:
        yield server


@pytest.fixture
async def sidecar(tmp_path: Path) -> AsyncIterator[Administered]:
    async with administered(tmp_path, ALLOWED) as started:
        yield started


def model(name: str = "m", **values: object) -> pb.RegisteredModel:
    facts: dict[str, object] = {
        "context_window_tokens": 100_000,
        "max_output_tokens": 4000,
        "input_per_million_usd": 1.0,
        "output_per_million_usd": 2.0,
        "quality": 80.0,
        "capabilities": [router_pb2.CAPABILITY_STREAMING],
        **values,
    }
    return pb.RegisteredModel(name=name, **facts)  # type: ignore[arg-type]  # of several types


def house(base_url: str = "http://127.0.0.1:9/v1", **values: object) -> pb.RegisteredProvider:
    facts: dict[str, object] = {"provider": "house", "wire": "openai", "models": [model()], **values}
    return pb.RegisteredProvider(base_url=base_url, **facts)  # type: ignore[arg-type]  # of several types


async def register(sidecar: Administered, wanted: pb.RegisteredProvider) -> pb.RegisteredProvider:
    answer = await sidecar.call(sidecar.admin.RegisterProvider, pb.RegisterProviderRequest(provider=wanted))
    return answer.provider


async def update(
    sidecar: Administered, wanted: pb.RegisteredProvider, *paths: str, etag: str = ""
) -> pb.RegisteredProvider:
    request = pb.UpdateProviderRequest(provider=wanted, etag=etag)
    if paths:
        request.update_mask.paths.extend(paths)
    answer = await sidecar.call(sidecar.admin.UpdateProvider, request)
    return answer.provider


async def remove(sidecar: Administered, name: str = "house", etag: str = "") -> list[str]:
    request = pb.RemoveProviderRequest(provider=name, etag=etag)
    answer = await sidecar.call(sidecar.admin.RemoveProvider, request)
    return [f"{each.provider}/{each.model}" for each in answer.removed]


async def known(sidecar: Administered) -> list[str]:
    answer = await sidecar.call(sidecar.stub.ProviderStatus, router_pb2.ProviderStatusRequest())
    return [state.provider for state in answer.providers]


async def ask(sidecar: Administered, target: str = "house/m") -> router_pb2.ExecuteResponse:
    request = router_pb2.ExecuteRequest(options=router_pb2.RoutingOptions(force_target=target))
    request.input.messages.add(role=router_pb2.ROLE_USER).parts.add(text="Hi")
    request.input.max_output_tokens = 100
    answer: router_pb2.ExecuteResponse = await sidecar.stub.Execute(request, metadata=AS_CALLER, timeout=60)
    return answer


async def test_a_registered_provider_is_called_with_the_key_of_that_name_until_it_is_removed(
    sidecar: Administered, provider: ScriptedServer
) -> None:
    provider.scripts.append(json_answer(SPEAKER.whole_text("Hello")))
    made = await register(sidecar, house(f"{provider.url}/v1", credential="house", region="eu", max_concurrency=3))
    answer = await ask(sidecar)
    during = await known(sidecar)
    gone = await remove(sidecar)

    assert answer.output.parts[0].text == "Hello"
    assert answer.cost_usd > 0
    assert provider.requests[0].headers["authorization"] == f"Bearer {HOUSE_KEY}"
    assert (made.registered, made.credential, made.region, made.max_concurrency) == (True, "house", "eu", 3)
    assert [(each.name, each.quality, each.output_per_million_usd) for each in made.models] == [("m", 80.0, 2.0)]
    assert HOUSE_KEY not in str(made)
    assert (during, gone, await known(sidecar)) == (["north", "south", "house"], ["house/m"], ["north", "south"])


async def test_each_change_is_an_event_with_who_and_what_and_no_key(sidecar: Administered) -> None:
    made = await register(sidecar, house(credential="house", drained=True))
    await update(sidecar, house("http://127.0.0.1:10/v1"), "base_url")
    await remove(sidecar)
    told = await sidecar.events("drained", "provider.registered", "provider.changed", "provider.removed")

    assert made.drained
    assert [event.name for event in told] == [
        "drained",
        "provider.registered",
        "provider.changed",
        "provider.removed",
    ]
    assert told[1].fields["what"] == "openai at http://127.0.0.1:9/v1, credential house: m"
    assert told[2].fields["what"].endswith("-> openai at http://127.0.0.1:10/v1, credential house: m")
    assert all("ADMIN_TOKEN" in event.fields["by"] and event.target.provider == "house" for event in told)
    assert HOUSE_KEY not in str(told)


async def test_single_facts_can_be_changed_and_what_was_read_may_be_sent_back(sidecar: Administered) -> None:
    made = await register(sidecar, house())
    fewer = await update(sidecar, house(models=[model("m"), model("n", quality=50.0)]), "models", etag=made.etag)
    same = await update(sidecar, fewer, etag=fewer.etag)
    fewer.region = "us"
    moved = await update(sidecar, fewer)
    stale = await refused(update(sidecar, house(region="eu"), "region", etag=made.etag))
    cleared = await update(sidecar, house(), "region")

    assert [each.name for each in fewer.models] == ["m", "n"]
    assert same.etag == fewer.etag
    assert moved.region == "us"
    assert [each.name for each in moved.models] == ["m", "n"]
    assert stale == (grpc.StatusCode.ABORTED, "STALE_ETAG")
    assert cleared.region == ""
    assert len(await sidecar.events("provider.changed")) == 3


async def test_it_is_drained_like_any_other(sidecar: Administered) -> None:
    await register(sidecar, house())
    drained = await update(sidecar, house(drained_targets=["house/m"]), "drained_targets")
    both = await violations(update(sidecar, house(drained=True, region="eu"), "drained", "region"))
    removed = await remove(sidecar, etag=drained.etag)

    assert (list(drained.drained_targets), drained.registered) == (["house/m"], True)
    assert "in a request of their own" in both["provider.drained"]
    assert removed == ["house/m"]


REFUSED = [
    (house("https://elsewhere.example.com/v1"), "provider.base_url", "on none of the hosts"),
    (house("https://llm.example.com/v1"), "provider.base_url", "on none of the hosts"),
    (house("https://llm.example.com.evil.example:8443/v1"), "provider.base_url", "on none of the hosts"),
    (house("http://127.0.0.1@evil.example/v1"), "provider.base_url", "on none of the hosts"),
    (house("http://evil.example@127.0.0.1:9/v1"), "provider.base_url", "must not hold a user or password"),
    (house("http://127.0.0.1\\@evil.example/v1"), "provider.base_url", "on none of the hosts"),
    (house("http://127.0.0.1:9/v1?key=x"), "provider.base_url", "must not have a query"),
    (house("file:///etc/passwd"), "provider.base_url", "on none of the hosts"),
    (house("http://[::1/v1"), "provider.base_url", "on none of the hosts"),
    (house(""), "provider.base_url", "is missing"),
    (house(provider="openai"), "provider", "is the name of a vendor"),
    (house(provider="a/b"), "provider", 'must not be empty nor hold "/"'),
    (house(provider=""), "provider.provider", "is missing"),
    (house(wire="smtp"), "provider.wire", "give one of openai, anthropic"),
    (house(credential="hous"), "provider.credential", 'did you mean "house"?'),
    (house(credential="HOUSE_KEY"), "provider.credential", "is none of admin.credentials"),
    (house(credential="OPENAI_API_KEY"), "provider.credential", "is none of admin.credentials"),
    (house(credential="/etc/passwd"), "provider.credential", "is none of admin.credentials"),
    (house(credential="gone"), "provider.credential", "is not set"),
    (house(models=[]), "provider.models", "is empty"),
    (house(models=[model(), model()]), "provider.models[1].name", "is there twice"),
    (house(models=[model(quality=101.0)]), "provider.models[0].quality", "is 101"),
    (house(models=[model(input_per_million_usd=-1.0)]), "provider.models[0].input_per_million_usd", "is -1"),
    (house(models=[model(output_per_million_usd=None)]), "provider.models[0]", "or neither"),
    (house(max_concurrency=0), "provider.max_concurrency", "is 0"),
    (house(region="e\nu"), "provider.region", "cannot be printed"),
    (house(models=[model(custom_capabilities=["a\nb"])]), "provider.models[0].custom_capabilities[0]", "cannot be"),
    (house(drained_targets=["house/m"]), "provider.drained_targets", "cannot be given"),
]


async def test_what_must_not_be_is_refused_whole(sidecar: Administered) -> None:
    for wanted, field, says in REFUSED:
        found = await violations(register(sidecar, wanted))

        assert field in found, (wanted, found)
        assert says in found[field]
    assert await known(sidecar) == ["north", "south"]
    assert not await sidecar.events("provider.registered")


async def test_a_changed_address_follows_the_same_rules_and_nothing_has_changed_then(sidecar: Administered) -> None:
    made = await register(sidecar, house())
    found = await violations(update(sidecar, house("http://127.0.0.2:9/v1", region="eu"), "base_url", "region"))
    wire = await violations(update(sidecar, house(), "wire", "provider"))

    assert "on none of the hosts" in found["provider.base_url"]
    assert '"provider" is none of' in wire["update_mask"]
    assert (await update(sidecar, pb.RegisteredProvider(provider="house"))).etag == made.etag


async def test_names_that_are_taken_unknown_or_the_configuration_s_are_refused(sidecar: Administered) -> None:
    await register(sidecar, house())
    twice = await refused(register(sidecar, house()))
    configured = await refused(register(sidecar, house(provider="north")))
    unknown = await refused(remove(sidecar, "west"))
    own = await violations(remove(sidecar, "north"))
    facts = await violations(update(sidecar, house(provider="north", region="eu"), "region"))
    stale = await refused(remove(sidecar, etag="0"))

    assert twice == configured == (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS")
    assert unknown == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_PROVIDER")
    assert "is the configuration's" in own["provider"]
    assert "only drained and drained_targets" in facts["update_mask"]
    assert stale == (grpc.StatusCode.ABORTED, "STALE_ETAG")
    assert await known(sidecar) == ["north", "south", "house"]


async def prefer(sidecar: Administered, *names: str) -> None:
    request = pb.UpdateRoutingRequest(routing=pb.Routing(preferences=names, strategy=router_pb2.STRATEGY_LATENCY))
    request.update_mask.paths.extend(("preferences", "strategy"))
    await sidecar.call(sidecar.admin.UpdateRouting, request)


async def test_one_that_the_rules_name_is_not_removed_before_they_do_not(sidecar: Administered) -> None:
    await register(sidecar, house())
    await prefer(sidecar, "house/m", "north/small")
    named = await violations(remove(sidecar, "house"))
    fewer = await violations(update(sidecar, house(models=[model("other")]), "models"))
    left = (await sidecar.decision()).candidates[0].target.provider
    await prefer(sidecar, "north/small")

    assert "house/m" in named["provider"]
    assert "house/m" in fewer["provider"]
    assert left == "house"
    assert await remove(sidecar, "house") == ["house/m"]


async def test_a_file_that_ends_a_registration_ends_of_the_rules_what_names_it_alone(sidecar: Administered) -> None:
    await register(sidecar, house())
    await prefer(sidecar, "house/m", "north/small")
    line = await sidecar.change_file(written())
    rules = await sidecar.routing()

    assert sorted(line["undone"].split(", ")) == ["providers.house", "routing.policies.default.preferences"]
    assert (rules.strategy, list(rules.preferences)) == (router_pb2.STRATEGY_LATENCY, [])


async def test_without_the_configuration_s_leave_nothing_is_registered(tmp_path: Path) -> None:
    async with administered(tmp_path) as sidecar:
        error = await refusal(register(sidecar, house()))

        assert (error.code(), "admin.allow_register is off" in str(error.details())) == (
            grpc.StatusCode.PERMISSION_DENIED,
            True,
        )
        assert await known(sidecar) == ["north", "south"]


async def test_private_addresses_and_plain_http_need_leave_of_their_own(tmp_path: Path) -> None:
    text = written(more=", admin: {allow_register: true, allowed_hosts: [127.0.0.1, localhost]}")
    async with administered(tmp_path, text) as sidecar:
        private = await violations(register(sidecar, house("https://127.0.0.1:9/v1")))
        local = await violations(register(sidecar, house("https://localhost:9/v1")))
        plain = await violations(register(sidecar, house("http://127.0.0.1:9/v1")))

    assert "a private, loopback or link-local address" in private["provider.base_url"]
    assert "a private, loopback or link-local address" in local["provider.base_url"]
    assert "http sends keys and prompts in the clear" in plain["provider.base_url"]


async def test_callers_without_the_role_register_and_remove_nothing(sidecar: Administered) -> None:
    await register(sidecar, house())
    added = await refused(
        sidecar.admin.RegisterProvider(
            pb.RegisterProviderRequest(provider=house(provider="other")), metadata=AS_CALLER, timeout=60
        )
    )
    removed = await refused(
        sidecar.admin.RemoveProvider(pb.RemoveProviderRequest(provider="house"), metadata=AS_CALLER, timeout=60)
    )

    assert added == removed == DENIED
    assert await known(sidecar) == ["north", "south", "house"]


async def test_a_changed_file_keeps_what_it_allows_and_removes_what_it_does_not(sidecar: Administered) -> None:
    await register(sidecar, house(credential="house"))
    await register(sidecar, house(provider="cabin"))
    await sidecar.change_file(ALLOWED.replace("drain_seconds: 5", "drain_seconds: 6"))
    kept = await known(sidecar)
    # The name is the file's now, and the key is another one's.
    cabin = NORTH.replace("north:", "cabin:")
    other = await sidecar.change_file(written(NORTH, SOUTH, cabin, more=f", {ADMIN}"))
    now = (await update(sidecar, pb.RegisteredProvider(provider="cabin"))).registered
    gone = await sidecar.change_file(written(more=", admin: {allow_register: false}"))

    assert kept == ["north", "south", "house", "cabin"]
    assert (other["undone"], now) == ("providers.cabin", False)
    assert gone["undone"] == "providers.house"
    assert await known(sidecar) == ["north", "south"]


async def test_a_restart_undoes_it(tmp_path: Path) -> None:
    async with administered(tmp_path, ALLOWED) as sidecar:
        await register(sidecar, house())
    async with administered(tmp_path, ALLOWED) as sidecar:
        assert await known(sidecar) == ["north", "south"]


async def test_a_call_under_way_ends_at_the_provider_that_is_removed(
    sidecar: Administered, provider: ScriptedServer
) -> None:
    gate = asyncio.Event()
    head, body = json_answer(SPEAKER.whole_text("Hello"))
    provider.scripts.append((Wait(gate), head, body))
    await register(sidecar, house(f"{provider.url}/v1"))
    call = asyncio.ensure_future(ask(sidecar))
    await asyncio.wait_for(provider.requested.wait(), 60)
    await remove(sidecar)
    gate.set()

    assert (await asyncio.wait_for(call, 60)).output.parts[0].text == "Hello"
    assert await known(sidecar) == ["north", "south"]


def with_models(name: str, count: int) -> pb.RegisteredProvider:
    return house(provider=name, models=[model(f"m{place}") for place in range(count)])


async def test_all_registered_providers_together_have_a_bounded_number_of_models(
    sidecar: Administered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changing, "REGISTERED_MODELS_MAXIMUM", 6)
    await register(sidecar, with_models("a", 4))
    too_many = await violations(register(sidecar, with_models("b", 3)))
    await register(sidecar, with_models("b", 2))
    grown = await violations(update(sidecar, with_models("a", 5), "models"))
    # What takes the place of others is not counted beside them.
    changed = await update(sidecar, with_models("a", 3), "models")
    await update(sidecar, with_models("b", 3), "models")
    before = await known(sidecar)
    await remove(sidecar, "a")
    await register(sidecar, with_models("c", 3))

    assert too_many == {
        "provider.models": "has 3 models; 4 of other providers are registered, and there can be 6 in all: give 2 at "
        "most, or remove a provider"
    }
    assert set(grown) == {"provider.models"}
    assert len(changed.models) == 3
    assert before == ["north", "south", "a", "b"]
    assert await known(sidecar) == ["north", "south", "b", "c"]


async def test_no_more_providers_are_registered_than_there_may_be(
    sidecar: Administered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changing, "REGISTERED_MAXIMUM", 1)
    await register(sidecar, house())
    refusals = await violations(register(sidecar, house(provider="one-more")))
    await remove(sidecar)
    await register(sidecar, house(provider="one-more"))

    assert set(refusals) == {"provider.provider"}
    assert await known(sidecar) == ["north", "south", "one-more"]


@pytest.mark.full
@pytest.mark.timeout(300)
async def test_a_thousand_models_can_be_registered_and_no_more(sidecar: Administered) -> None:
    for name in "abcd":
        await register(sidecar, with_models(name, 250))

    assert set(await violations(register(sidecar, house()))) == {"provider.models"}
