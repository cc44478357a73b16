"""The state of one sidecar carried to another, through the real server: what is taken, left out, and refused."""

from __future__ import annotations

import asyncio
import struct
import time
from hashlib import sha256
from pathlib import Path

import orjson
import pytest
from google.protobuf.duration_pb2 import Duration

from tests.administration.administered import (
    AS_CALLER,
    DENIED,
    NORTH,
    SOUTH,
    Administered,
    administered,
    refused,
    violations,
    written,
)
from tests.reloading.following import provider
from turnout.v1 import admin_pb2 as pb
from turnout.v1 import router_pb2

DAY_SECONDS = 86_400
UNKNOWN = 0.996
"""The availability of a target that nobody has called."""
FILE = written(more=", budgets: [{name: monthly, limit_usd: 5, per_pod: true}]")


async def report(sidecar: Administered, name: str, *, failed: int = 0, cost: float = 0.25) -> None:
    """Tells of as many failures as wanted, or of one success."""
    for number in range(failed or 1):
        outcome = router_pb2.Outcome(
            attempt_id=f"{name}-{number}-{failed}",
            target=router_pb2.Target(provider=name, model="small"),
            ok=not failed,
            failure=router_pb2.FAILURE_KIND_SERVER_ERROR if failed else router_pb2.FAILURE_KIND_UNSPECIFIED,
            latency=Duration(seconds=2),
            time_to_first_token=Duration(seconds=1),
            cost_usd=cost,
        )
        request = router_pb2.ReportOutcomeRequest(outcomes=[outcome])
        answer = await sidecar.stub.ReportOutcome(request, metadata=AS_CALLER, timeout=60)
        assert answer.results[0].status == router_pb2.OUTCOME_STATUS_ACCEPTED


async def export(sidecar: Administered, *, history: bool = False) -> bytes:
    request = pb.ExportStateRequest(include_history=history)
    answer = await sidecar.call(sidecar.admin.ExportState, request)
    return answer.state


async def take(sidecar: Administered, state: bytes) -> tuple[list[str], list[str]]:
    answer = await sidecar.call(sidecar.admin.ImportState, pb.ImportStateRequest(state=state))
    return [f"{each.provider}/{each.model}" for each in answer.targets], list(answer.warnings)


async def availability(sidecar: Administered) -> dict[str, float]:
    answer = await sidecar.call(sidecar.stub.ProviderStatus, router_pb2.ProviderStatusRequest())
    return {state.provider: state.targets[0].availability for state in answer.providers}


async def spent(sidecar: Administered) -> float:
    answer = await sidecar.call(sidecar.admin.ListBudgets, pb.ListBudgetsRequest())
    return sum(each.spent_usd for each in answer.budgets[0].spend)


async def lived(folder: Path) -> tuple[bytes, bytes, dict[str, float]]:
    """What a sidecar exports that has seen a target fail, without the past and with it; and how it sees its targets."""
    async with administered(folder, FILE) as sidecar:
        await report(sidecar, "north", failed=2)
        await report(sidecar, "south")
        return await export(sidecar), await export(sidecar, history=True), await availability(sidecar)


async def test_a_new_sidecar_knows_what_the_other_one_knew(tmp_path: Path) -> None:
    state, _, known = await lived(tmp_path)
    async with administered(tmp_path, FILE) as sidecar:
        before = await availability(sidecar)
        taken, warnings = await take(sidecar, state)
        after = await availability(sidecar)
        (event,) = await sidecar.events("state.imported")

        assert before["north"] == UNKNOWN > known["north"]
        assert after == pytest.approx(known, abs=1e-3)
        assert (taken, warnings) == (["north/small", "south/small"], [])
        assert await spent(sidecar) == pytest.approx(0.75)
        assert "ADMIN_TOKEN" in event.fields["by"]
        assert (event.fields["target_count"], event.fields["budget_count"]) == ("2", "1")


async def test_what_it_knows_itself_stays_and_of_spending_the_larger_sum_counts(tmp_path: Path) -> None:
    state, _, known = await lived(tmp_path)
    async with administered(tmp_path, FILE) as sidecar:
        await report(sidecar, "north", cost=2.0)
        own = await availability(sidecar)
        taken, warnings = await take(sidecar, state)
        again, _ = await take(sidecar, state)
        after = await availability(sidecar)

        assert (taken, again) == (["south/small"], ["south/small"])
        assert warnings == ["north/small: it was called here, and what is known of it here is newer"]
        assert after["north"] == pytest.approx(own["north"], abs=1e-3)
        assert after["south"] == pytest.approx(known["south"], abs=1e-3)
        assert await spent(sidecar) == pytest.approx(2.0)


async def test_sums_over_the_past_come_along_when_they_are_asked_for(tmp_path: Path) -> None:
    without, with_past, _ = await lived(tmp_path)
    totals = []
    for state in (without, with_past):
        async with administered(tmp_path, FILE) as sidecar:
            await take(sidecar, state)
            answer = await sidecar.call(sidecar.admin.GetSpend, pb.GetSpendRequest())
            totals.append((answer.total_usd, answer.failed_usd))

    assert totals == [(0.0, 0.0), (0.75, 0.5)]


async def test_targets_and_budgets_that_are_others_here_are_left_out_and_named(tmp_path: Path) -> None:
    state, _, _ = await lived(tmp_path)
    moved = provider("north", "http://127.0.0.1:10/v1")
    async with administered(tmp_path, written(moved, SOUTH)) as sidecar:
        taken, warnings = await take(sidecar, state)

        assert taken == ["south/small"]
        assert warnings == [
            "north/small: there is no such target here, or it has another address",
            "budget monthly: there is no such here, or its period is over",
        ]
        assert (await availability(sidecar))["north"] == UNKNOWN


def resealed(state: bytes, body: bytes) -> bytes:
    """A document whose checksum is right for another body."""
    heading = state.partition(b"\n")[0].split(b" ")
    return b" ".join((*heading[:2], b"%d" % len(body), sha256(body).hexdigest().encode())) + b"\n" + body


async def test_a_damaged_or_foreign_document_changes_nothing(tmp_path: Path) -> None:
    state, _, _ = await lived(tmp_path)
    heading, _, body = state.partition(b"\n")
    wrong = {
        b"": "is missing",
        state[:-1]: "is not whole",
        state + b"\n": "is not whole",
        state.replace(b"target", b"tarjet", 1): "its checksum does not agree",
        b"{}": "is no snapshot of Turnout",
        struct.pack("<Q", 7) * 100: "is no snapshot of Turnout",
        heading.replace(b" 1 ", b" 9 ", 1) + b"\n" + body: "is of a newer Turnout",
        resealed(state, body + b'[7, 1800000000.0, "future", {}]\n'): "has lines that this version does not know",
        resealed(state, body + b'[7, 1800000000.0, "target", {"name": 7}]\n'): "has lines that this version does not",
    }
    async with administered(tmp_path, FILE) as sidecar:
        before = await availability(sidecar)
        for document, says in wrong.items():
            found = await violations(sidecar.call(sidecar.admin.ImportState, pb.ImportStateRequest(state=document)))

            assert says in found["state"]
        assert await availability(sidecar) == before
        assert await spent(sidecar) == 0.0
        assert not await sidecar.events("state.imported")


async def test_no_key_and_nothing_against_one_is_in_it(tmp_path: Path) -> None:
    keyed = NORTH.replace("models:", "api_key_env: HOUSE_KEY, models:")
    async with administered(tmp_path, written(keyed, SOUTH)) as sidecar:
        await report(sidecar, "south")
        state = await export(sidecar, history=True)

    assert b"planted" not in state
    assert b"credential" not in state


async def test_it_is_for_the_role_alone_in_both_directions(tmp_path: Path) -> None:
    async with administered(tmp_path, FILE) as sidecar:
        out = await refused(sidecar.admin.ExportState(pb.ExportStateRequest(), metadata=AS_CALLER, timeout=60))
        into = await refused(
            sidecar.admin.ImportState(pb.ImportStateRequest(state=b"x"), metadata=AS_CALLER, timeout=60)
        )

    assert out == into == DENIED


async def test_calls_go_on_while_it_is_taken_over(tmp_path: Path) -> None:
    state, _, _ = await lived(tmp_path)
    async with administered(tmp_path, FILE) as sidecar:
        deciding = [asyncio.ensure_future(sidecar.decision()) for _ in range(50)]
        await take(sidecar, state)
        decided = await asyncio.gather(*deciding)
        await report(sidecar, "south")

        assert all(decision.candidates for decision in decided)
        assert await spent(sidecar) >= 1.0 - 1e-9


async def test_what_days_cost_is_carried_along_and_told_day_by_day(tmp_path: Path) -> None:
    _, with_past, _ = await lived(tmp_path)
    today = int(time.time() // DAY_SECONDS)
    rows = [[["north", "small", "default"], "chat", "", "acme", 2 * 10**9, 5 * 10**8, 3, 1]]
    lines = b"".join(
        orjson.dumps([9, time.time(), "costs", {"day": day, "rows": rows}]) + b"\n" for day in (today - 9, today - 3)
    )
    document = resealed(with_past, with_past.partition(b"\n")[2] + lines)
    month = pb.GetSpendRequest(group_by=pb.DIMENSION_TENANT)
    month.start_time.FromSeconds((today - 20) * DAY_SECONDS)
    async with administered(tmp_path, FILE) as sidecar:
        await take(sidecar, document)
        again = await export(sidecar, history=True)
        without = await export(sidecar)
        found = await sidecar.call(sidecar.admin.GetSpend, month)
        day = await sidecar.call(sidecar.admin.GetSpend, pb.GetSpendRequest())
        await sidecar.call(sidecar.admin.ClearHistory, pb.ClearHistoryRequest())
        cleared = await sidecar.call(sidecar.admin.GetSpend, month)

        assert {each.name: (each.total_usd, each.failed_usd) for each in found.series} == {
            "acme": (4.0, 1.0),
            "": (0.75, 0.5),
        }
        assert [point.time.seconds // DAY_SECONDS for point in found.series[0].points if point.value] == [
            today - 9,
            today - 3,
        ]
        assert found.start_time.seconds == (today - 9) * DAY_SECONDS
        assert (found.unknown_count, day.total_usd, cleared.total_usd) == (2, 0.75, 0.0)
        assert (again.count(b'"costs"'), without.count(b'"costs"')) == (2, 0)
