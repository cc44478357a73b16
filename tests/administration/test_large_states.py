"""A state larger than a message may be: refused by the sidecar with its size, carried where its limit was raised."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from tests.administration.administered import AS_CALLER, NORTH, Administered, administered, violations, written
from tests.administration.test_commands import on
from tests.unit.test_router import A, B, Desk
from turnout.v1 import admin_pb2 as pb
from turnout.v1 import router_pb2
from turnout_server.api.state_transfer import BESIDE_BYTES, export_state
from turnout_server.core.errors import InvalidRequestError

MIB = 1024 * 1024
WITH_PAST, WITHOUT_PAST = pb.ExportStateRequest(include_history=True), pb.ExportStateRequest()


async def faulty(desk: Desk, request: pb.ExportStateRequest, max_bytes: int) -> tuple[str, str]:
    """Returns the field that an export is refused for, and why."""
    with pytest.raises(InvalidRequestError) as caught:
        await export_state(request, desk.router, max_bytes)
    (violation,) = caught.value.violations
    return violation.field, violation.description


async def test_the_sidecar_measures_before_it_sends_and_says_what_would_be_right() -> None:
    desk = Desk()
    for _ in range(3):
        desk.report(A)
        desk.report(B)
    whole = await export_state(WITH_PAST, desk.router, MIB)
    fits = await export_state(WITH_PAST, desk.router, whole.ByteSize() + BESIDE_BYTES)
    past = await faulty(desk, WITH_PAST, BESIDE_BYTES + 100)
    present = await faulty(desk, WITHOUT_PAST, BESIDE_BYTES + 100)

    # Only the moment differs, which has not moved.
    assert fits.state == whole.state
    sizes = f"has 0.1 MiB, and a message at most {(BESIDE_BYTES + 100) / MIB:g} MiB"
    advice = "leave it out, or raise limits.max_message_mib"
    assert past == ("include_history", f"with the past the state {sizes}; {advice}")
    assert present == ("state", f"{sizes}; raise limits.max_message_mib")


def exported(_request: pb.ExportStateRequest, _context: grpc.ServicerContext) -> pb.ExportStateResponse:
    return pb.ExportStateResponse(state=bytes(33 * MIB))


def taken_over(request: pb.ImportStateRequest, _context: grpc.ServicerContext) -> pb.ImportStateResponse:
    return pb.ImportStateResponse(warnings=[f"{len(request.state)} bytes"])


METHODS: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
    "ExportState": grpc.unary_unary_rpc_method_handler(
        exported, pb.ExportStateRequest.FromString, pb.ExportStateResponse.SerializeToString
    ),
    "ImportState": grpc.unary_unary_rpc_method_handler(
        taken_over, pb.ImportStateRequest.FromString, pb.ImportStateResponse.SerializeToString
    ),
}
"""What the commands ask, of a sidecar whose limit was raised and whose state is larger than messages are by default."""


@pytest.fixture
def raised() -> Iterator[str]:
    unbounded = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(1), options=unbounded)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("turnout.v1.AdminService", METHODS)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait(60)


def test_the_commands_carry_what_a_raised_limit_lets_through(raised: str, tmp_path: Path) -> None:
    file = tmp_path / "state"
    out = on(raised, "state", "export", str(file), "--timeout", "60")
    back = on(raised, "state", "import", str(file), "--timeout", "60")

    assert (out.code, out.err, file.stat().st_size) == (0, "", 33 * MIB)
    assert f"not taken: {33 * MIB} bytes" in back.out


def model(number: int) -> str:
    """A name nearly as long as it may be."""
    return f"m{number:03}" * 60


def many_models(count: int) -> str:
    """A provider as a line of a configuration file, with more models than a small message can tell of."""
    names = ", ".join(f"{{name: {model(number)}}}" for number in range(count))
    return NORTH.replace(NORTH[NORTH.index("models:") :], f"models: [{names}]}}")


async def report_of_each(sidecar: Administered, numbers: range) -> None:
    """Tells of a success and of a failure of each of those models."""
    outcomes = [
        router_pb2.Outcome(
            attempt_id=f"{ok}-{number}",
            target=router_pb2.Target(provider="north", model=model(number)),
            ok=ok,
            failure=router_pb2.FAILURE_KIND_UNSPECIFIED if ok else router_pb2.FAILURE_KIND_TIMEOUT,
            latency=Duration(seconds=2),
            time_to_first_token=Duration(seconds=1),
            usage=router_pb2.Usage(input_tokens=100, output_tokens=100),
            cost_usd=0.25,
            task=f"{number}",
        )
        for ok in (True, False)
        for number in numbers
    ]
    request = router_pb2.ReportOutcomeRequest(outcomes=outcomes)
    answer = await sidecar.stub.ReportOutcome(request, metadata=AS_CALLER, timeout=60)
    assert {each.status for each in answer.results} == {router_pb2.OUTCOME_STATUS_ACCEPTED}


def sized(folder: Path, model_count: int) -> AbstractAsyncContextManager[Administered]:
    """A sidecar with so many targets, each of a kibibyte or two, whose messages have a mebibyte at most."""
    return administered(folder, written(many_models(model_count), more=", limits: {max_message_mib: 1}"))


@pytest.mark.full
async def test_a_state_that_no_message_can_carry_is_refused_with_its_size_and_what_would_be_right(
    tmp_path: Path,
) -> None:
    async with sized(tmp_path, 400) as sidecar:
        await report_of_each(sidecar, range(400))
        fits = (await sidecar.call(sidecar.admin.ExportState, WITHOUT_PAST)).state
        past = await violations(sidecar.call(sidecar.admin.ExportState, WITH_PAST))
    async with sized(tmp_path, 1500) as sidecar:
        present = await violations(sidecar.call(sidecar.admin.ExportState, WITHOUT_PAST))

    assert len(fits) < MIB
    (said,) = re.findall(
        r"^with the past the state has (.*) MiB, and a message at most 1 MiB; "
        r"leave it out, or raise limits.max_message_mib$",
        past["include_history"],
    )
    assert 1.0 < float(said) < 4.0
    (said,) = re.findall(r"^has (.*) MiB, and a message at most 1 MiB; raise limits.max_message_mib$", present["state"])
    assert 1.0 < float(said) < 4.0
