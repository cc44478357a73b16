"""The simulated server as a whole: keys, rate limits, refusals, latency, counts and the control API."""

from __future__ import annotations

import asyncio
from datetime import datetime

import httpx
import pytest

from tests.sim.calls import HEADERS, PATHS, body, post
from turnout_server.providers.simulated.openai import go_duration
from turnout_server.providers.simulated.provider import ProviderSettings, WireName
from turnout_server.providers.simulated.server import DEFAULT_PROVIDERS, SimulatedServer

WIRES = ["openai", "anthropic"]


@pytest.mark.parametrize("wire", WIRES)
async def test_wrong_key_is_refused_as_the_vendor_does(
    sim: SimulatedServer, http: httpx.AsyncClient, wire: str
) -> None:
    sim.change(wire, api_key="the-right-one")
    response = await post(http, sim, wire)

    assert response.status_code == 401
    assert "the-right-one" not in response.text


@pytest.mark.parametrize("wire", WIRES)
async def test_unknown_model_is_refused_where_models_are_listed(
    sim: SimulatedServer, http: httpx.AsyncClient, wire: str
) -> None:
    sim.change(wire, models=["large"])
    statuses = [(await post(http, sim, wire, model=model)).status_code for model in ("large", "small")]

    assert statuses == [200, 404]


@pytest.mark.parametrize("wire", WIRES)
async def test_prompt_beyond_the_window_is_refused(sim: SimulatedServer, http: httpx.AsyncClient, wire: str) -> None:
    sim.change(wire, context_window_tokens=50)
    response = await post(http, sim, wire, text="word " * 200)

    assert response.status_code == 400
    assert "50" in response.json()["error"]["message"]


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"model": "m"}', b'{"messages": []}'])
async def test_malformed_request_is_refused(
    sim: SimulatedServer, http: httpx.AsyncClient, wire: str, data: bytes
) -> None:
    response = await http.post(sim.base_url(wire) + PATHS[wire], content=data, headers=HEADERS[wire])

    assert response.status_code == 400
    assert "error" in response.json()


@pytest.mark.parametrize("wire", WIRES)
async def test_requests_past_the_rate_limit_are_told_to_wait(
    sim: SimulatedServer, http: httpx.AsyncClient, wire: str
) -> None:
    sim.change(wire, requests_per_minute=2)
    responses = [await post(http, sim, wire) for _ in range(3)]

    assert [response.status_code for response in responses] == [200, 200, 429]
    assert 25 <= int(responses[-1].headers["retry-after"]) <= 30


async def test_openai_rate_limit_headers_are_go_durations(sim: SimulatedServer, http: httpx.AsyncClient) -> None:
    sim.change("openai", requests_per_minute=60)
    headers = (await post(http, sim, "openai")).headers

    assert headers["x-ratelimit-limit-requests"] == "60"
    assert headers["x-ratelimit-remaining-requests"] == "59"
    assert headers["x-ratelimit-reset-requests"].endswith(("s", "ms"))


async def test_anthropic_rate_limit_headers_are_utc_times(sim: SimulatedServer, http: httpx.AsyncClient) -> None:
    headers = (await post(http, sim, "anthropic")).headers
    reset = datetime.fromisoformat(headers["anthropic-ratelimit-requests-reset"])

    assert reset.utcoffset() is not None
    assert headers["anthropic-ratelimit-requests-reset"].endswith("Z")
    assert headers["request-id"].startswith("req_")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0ms"), (0.012, "12ms"), (1.0, "1s"), (1.5, "1.5s"), (360.0, "6m0s"), (61.5, "1m1.5s")]
)
def test_durations_are_written_as_go_prints_them(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text


async def test_first_token_comes_later_for_longer_prompts(sim: SimulatedServer, http: httpx.AsyncClient) -> None:
    sim.change("openai", latency={"first_token_seconds": 0.0, "seconds_per_input_token": 0.003, "jitter": 0.0})
    loop = asyncio.get_running_loop()

    async def seconds_of(text: str) -> float:
        began = loop.time()
        await post(http, sim, "openai", text=text)
        return loop.time() - began

    assert await seconds_of("word " * 300) >= 0.9
    # A busy machine may delay some of them, and never all.
    for _ in range(100):
        if await seconds_of("short") < 0.9:
            break
    else:
        pytest.fail("a short prompt is waited for as long as a long one")


async def test_same_seed_gives_the_same_answers(http: httpx.AsyncClient) -> None:
    answers = []
    for _ in range(2):
        async with SimulatedServer(seed=42) as server:
            answers.append((await post(http, server, "openai")).content)

    assert answers[0] == answers[1]


async def test_providers_of_one_server_are_told_apart_by_their_path(http: httpx.AsyncClient) -> None:
    providers = {name: ProviderSettings(wire=WireName.OPENAI) for name in ("north", "south")}
    async with SimulatedServer(providers) as server:
        server.change("north", fault={"status": 500})
        statuses = {
            name: (await http.post(server.base_url(name) + "/chat/completions", json=body(stream=False))).status_code
            for name in providers
        }
        requests = {name: provider.counts.requests for name, provider in server.providers.items()}

    assert statuses == {"north": 500, "south": 200}
    assert requests == {"north": 1, "south": 1}


@pytest.mark.parametrize("name", ["control", "a/b", "", "ä"])
def test_name_that_could_not_be_a_path_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name"):
        SimulatedServer({name: ProviderSettings()})


async def test_taken_port_is_an_os_error(sim: SimulatedServer) -> None:
    port = int(sim.url.rsplit(":", 1)[1])

    with pytest.raises(OSError, match="address already in use"):
        await SimulatedServer(port=port).__aenter__()


async def test_control_api_switches_a_fault_on_and_off(sim: SimulatedServer, http: httpx.AsyncClient) -> None:
    one = f"{sim.url}/control/providers/openai"
    await http.patch(one, json={"fault": {"kind": "error", "status": 503}})
    failing = await post(http, sim, "openai")
    await http.patch(one, json={"fault": None})
    healed = await post(http, sim, "openai")
    state = (await http.get(one)).json()

    assert (failing.status_code, healed.status_code) == (503, 200)
    assert state["counts"]["endings"] == {"faulted": 1, "complete": 1}
    assert state["settings"]["fault"] is None


async def test_control_api_changes_latency_field_by_field(sim: SimulatedServer, http: httpx.AsyncClient) -> None:
    one = f"{sim.url}/control/providers/openai"
    before = (await http.get(one)).json()["settings"]["latency"]
    after = (await http.patch(one, json={"latency": {"jitter": 0.5}})).json()["settings"]["latency"]

    assert after == before | {"jitter": 0.5}


async def test_control_api_names_the_field_that_does_not_fit(sim: SimulatedServer, http: httpx.AsyncClient) -> None:
    one = f"{sim.url}/control/providers/openai"
    wrong = await http.patch(one, json={"fault": {"share": 2}, "api_key": "sk-planted"})
    unknown = await http.patch(one, json={"colour": "red"})
    nobody = await http.patch(f"{sim.url}/control/providers/nobody", json={})
    no_object = await http.patch(one, content=b"[")

    assert (wrong.status_code, unknown.status_code, nobody.status_code, no_object.status_code) == (400, 400, 404, 400)
    assert "fault.share" in wrong.text
    assert "sk-planted" not in wrong.text
    assert "colour" in unknown.text
    assert "openai" in nobody.text


async def test_control_api_never_tells_a_key(sim: SimulatedServer, http: httpx.AsyncClient) -> None:
    sim.change("openai", api_key="sk-planted")
    listed = await http.get(f"{sim.url}/control/providers")

    assert "sk-planted" not in listed.text
    assert [provider["name"] for provider in listed.json()["providers"]] == list(DEFAULT_PROVIDERS)


async def test_counts_can_be_forgotten(sim: SimulatedServer, http: httpx.AsyncClient) -> None:
    await post(http, sim, "openai")
    state = (await http.post(f"{sim.url}/control/providers/openai/reset")).json()

    assert state["counts"]["requests"] == 0


async def test_many_streams_at_once_are_all_served(sim: SimulatedServer) -> None:
    limits = httpx.Limits(max_connections=200)
    async with httpx.AsyncClient(timeout=20.0, trust_env=False, limits=limits) as http:
        responses = await asyncio.gather(*(post(http, sim, "openai", stream=True) for _ in range(150)))

    assert all(b"[DONE]" in response.content for response in responses)
    assert sim.providers["openai"].counts.peak_in_flight > 10
