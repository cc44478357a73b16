"""A caller that gave up: its own business, unless it had waited far longer than usual for a first token."""

import pytest
from google.protobuf.duration_pb2 import Duration

from tests.api.sidecar import Sidecar
from turnout.v1 import router_pb2 as pb


async def availability_after(sidecar: Sidecar, outcome: pb.Outcome) -> float:
    """Reports the outcome and returns what is then known of its target."""
    await sidecar.stub.ReportOutcome(pb.ReportOutcomeRequest(outcomes=[outcome]), timeout=60)
    status = await sidecar.stub.ProviderStatus(pb.ProviderStatusRequest(providers=["beta"]), timeout=60)
    return status.providers[0].targets[0].availability


def cancelled(seconds: float, *, first_token_seconds: float | None = None) -> pb.Outcome:
    return pb.Outcome(
        attempt_id="attempt-1",
        target=pb.Target(provider="beta", model="large"),
        failure=pb.FAILURE_KIND_CANCELLED,
        streamed=True,
        latency=Duration(seconds=int(seconds)),
        time_to_first_token=None if first_token_seconds is None else Duration(seconds=int(first_token_seconds)),
    )


async def test_a_caller_that_gave_up_after_a_long_silence_reports_a_timeout(sidecar: Sidecar) -> None:
    assert await availability_after(sidecar, cancelled(30)) < 24.9 / 25


async def test_a_caller_that_gave_up_in_the_middle_of_an_answer_reports_nothing(sidecar: Sidecar) -> None:
    availability = await availability_after(sidecar, cancelled(30, first_token_seconds=1))

    assert availability == pytest.approx(24.9 / 25)
