"""Each fault breaks exactly what it says it breaks, on both wires."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.sim.calls import END_MARKERS, FINISHES, post, read_until_broken
from turnout_server.providers.simulated.server import SimulatedServer

WIRES = ["openai", "anthropic"]
pytestmark = pytest.mark.parametrize("wire", WIRES)


async def test_stream_without_a_fault_ends_with_finish_and_marker(
    sim: SimulatedServer, http: httpx.AsyncClient, wire: str
) -> None:
    seen, error = await read_until_broken(http, sim, wire)

    assert error == ""
    assert FINISHES[wire] in seen
    assert END_MARKERS[wire] in seen


async def test_cut_breaks_the_connection_after_the_pieces_it_names(
    sim: SimulatedServer, http: httpx.AsyncClient, wire: str
) -> None:
    sim.change(wire, fault={"kind": "cut", "after_pieces": 3})
    seen, error = await read_until_broken(http, sim, wire)

    assert error == "RemoteProtocolError"
    assert seen.count(b'"content":"' if wire == "openai" else b"content_block_delta") >= 3
    assert FINISHES[wire] not in seen


async def test_clean_cut_ends_http_but_not_the_answer(sim: SimulatedServer, http: httpx.AsyncClient, wire: str) -> None:
    sim.change(wire, fault={"kind": "cut_clean"})
    seen, error = await read_until_broken(http, sim, wire)

    assert error == ""
    assert FINISHES[wire] not in seen
    assert END_MARKERS[wire] not in seen


async def test_missing_end_leaves_out_finish_and_marker(
    sim: SimulatedServer, http: httpx.AsyncClient, wire: str
) -> None:
    sim.change(wire, fault={"kind": "no_end"})
    seen, error = await read_until_broken(http, sim, wire)

    assert error == ""
    assert FINISHES[wire] not in seen
    assert END_MARKERS[wire] not in seen


async def test_missing_marker_leaves_the_finish(sim: SimulatedServer, http: httpx.AsyncClient, wire: str) -> None:
    sim.change(wire, fault={"kind": "no_end_marker"})
    seen, error = await read_until_broken(http, sim, wire)

    assert error == ""
    assert FINISHES[wire] in seen
    assert END_MARKERS[wire] not in seen


async def test_lingering_stream_stays_open_after_its_finish(
    sim: SimulatedServer, http: httpx.AsyncClient, wire: str
) -> None:
    sim.change(wire, fault={"kind": "linger"})
    http.timeout = httpx.Timeout(0.3)
    seen, error = await read_until_broken(http, sim, wire)

    assert error == "ReadTimeout"
    assert FINISHES[wire] in seen
    assert END_MARKERS[wire] not in seen


async def test_stalled_stream_falls_silent_mid_answer(sim: SimulatedServer, http: httpx.AsyncClient, wire: str) -> None:
    sim.change(wire, fault={"kind": "stall"})
    http.timeout = httpx.Timeout(0.3)
    seen, error = await read_until_broken(http, sim, wire)

    assert error == "ReadTimeout"
    assert seen
    assert FINISHES[wire] not in seen


async def test_silent_provider_sends_no_header(sim: SimulatedServer, http: httpx.AsyncClient, wire: str) -> None:
    sim.change(wire, fault={"kind": "silence"})
    http.timeout = httpx.Timeout(0.2)
    seen, error = await read_until_broken(http, sim, wire)

    assert (seen, error) == (b"", "ReadTimeout")


async def test_silent_stream_sends_role_and_pings_but_no_content(
    sim: SimulatedServer, http: httpx.AsyncClient, wire: str
) -> None:
    sim.change(wire, fault={"kind": "silent_stream", "seconds": 0.1})
    seen, error = await read_until_broken(http, sim, wire)

    assert error == ""
    assert b'"assistant"' in seen
    assert b"ping" in seen
    assert b'"text_delta"' not in seen
    assert FINISHES[wire] not in seen


async def test_reset_comes_before_any_header(sim: SimulatedServer, http: httpx.AsyncClient, wire: str) -> None:
    sim.change(wire, fault={"kind": "reset"})
    seen, error = await read_until_broken(http, sim, wire)

    assert seen == b""
    assert error in {"ReadError", "RemoteProtocolError"}


async def test_malformed_event_stands_where_content_should(
    sim: SimulatedServer, http: httpx.AsyncClient, wire: str
) -> None:
    sim.change(wire, fault={"kind": "malformed", "after_pieces": 0})
    seen, _ = await read_until_broken(http, sim, wire)

    assert b'data: {"broken": \n\n' in seen
    assert FINISHES[wire] not in seen


async def test_error_event_comes_inside_a_good_status(sim: SimulatedServer, http: httpx.AsyncClient, wire: str) -> None:
    sim.change(wire, fault={"kind": "error_event", "problem": "overloaded"})
    response = await post(http, sim, wire, stream=True)

    assert response.status_code == 200
    assert b'"error":{' in response.content
    assert END_MARKERS[wire] not in response.content


async def test_unary_body_is_cut_short(sim: SimulatedServer, http: httpx.AsyncClient, wire: str) -> None:
    sim.change(wire, fault={"kind": "cut"})

    with pytest.raises(httpx.RemoteProtocolError):
        await post(http, sim, wire)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 502, 503, 529])
async def test_error_status_carries_the_wait_it_was_told(
    sim: SimulatedServer, http: httpx.AsyncClient, wire: str, status: int
) -> None:
    sim.change(wire, fault={"status": status, "retry_after_seconds": 7})
    response = await post(http, sim, wire)

    assert response.status_code == status
    assert response.headers["retry-after"] == "7"
    assert "error" in response.json()


async def test_error_status_without_a_wait_says_nothing_of_waiting(
    sim: SimulatedServer, http: httpx.AsyncClient, wire: str
) -> None:
    sim.change(wire, fault={"status": 503})
    response = await post(http, sim, wire)

    assert "retry-after" not in response.headers


async def test_slow_first_token_delays_a_complete_answer(
    sim: SimulatedServer, http: httpx.AsyncClient, wire: str
) -> None:
    sim.change(wire, fault={"kind": "slow_first_token", "seconds": 0.3})
    began = asyncio.get_running_loop().time()
    seen, error = await read_until_broken(http, sim, wire)
    took = asyncio.get_running_loop().time() - began

    assert took >= 0.3
    assert (error, END_MARKERS[wire] in seen) == ("", True)


async def test_share_of_a_fault_is_about_what_it_says(sim: SimulatedServer, http: httpx.AsyncClient, wire: str) -> None:
    sim.change(wire, fault={"status": 500, "share": 0.5}, latency={"first_token_seconds": 0.0})
    statuses = [(await post(http, sim, wire)).status_code for _ in range(60)]

    assert 15 <= statuses.count(500) <= 45
    assert set(statuses) == {200, 500}


async def test_fault_with_a_count_ends_by_itself(sim: SimulatedServer, http: httpx.AsyncClient, wire: str) -> None:
    sim.change(wire, fault={"status": 503, "count": 2})
    statuses = [(await post(http, sim, wire)).status_code for _ in range(4)]

    assert statuses == [503, 503, 200, 200]


async def test_fault_limited_to_a_model_spares_the_others(
    sim: SimulatedServer, http: httpx.AsyncClient, wire: str
) -> None:
    sim.change(wire, fault={"status": 503, "models": ["bad"]})
    statuses = [(await post(http, sim, wire, model=model)).status_code for model in ("good", "bad")]

    assert statuses == [200, 503]


async def test_client_that_leaves_is_counted_as_abandoned(
    sim: SimulatedServer, http: httpx.AsyncClient, wire: str
) -> None:
    sim.change(wire, fault={"kind": "silence"})
    counts = sim.providers[wire].counts
    reading = asyncio.create_task(read_until_broken(http, sim, wire))
    await until_in_flight(sim, wire, 1)
    reading.cancel()
    await until_in_flight(sim, wire, 0)

    assert (counts.in_flight, dict(counts.endings)) == (0, {"abandoned": 1})


async def test_running_streams_can_be_cut_from_outside(
    sim: SimulatedServer, http: httpx.AsyncClient, wire: str
) -> None:
    sim.change(wire, latency={"seconds_per_output_token": 1.0})
    reading = asyncio.create_task(read_until_broken(http, sim, wire))
    await until_in_flight(sim, wire, 1)
    cut = sim.cut_running(wire)
    seen, error = await reading

    assert cut == 1
    assert error in {"ReadError", "RemoteProtocolError"}
    assert END_MARKERS[wire] not in seen


async def until_in_flight(sim: SimulatedServer, wire: str, count: int) -> None:
    async with asyncio.timeout(60):
        while sim.providers[wire].counts.in_flight != count:  # noqa: ASYNC110  # counts wake nobody
            await asyncio.sleep(0.005)
