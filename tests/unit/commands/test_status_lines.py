import pytest

from turnout.v1 import router_pb2 as pb
from turnout_server.commands.status import breaker_word, unreachable

CLOSED, OPEN, HALF_OPEN = pb.BREAKER_STATE_CLOSED, pb.BREAKER_STATE_OPEN, pb.BREAKER_STATE_HALF_OPEN


@pytest.mark.parametrize(
    ("of_target", "of_endpoint", "expected"),
    [
        (CLOSED, CLOSED, "CLOSED"),
        (OPEN, CLOSED, "OPEN"),
        (CLOSED, OPEN, "OPEN (endpoint)"),
        (CLOSED, HALF_OPEN, "HALF_OPEN (endpoint)"),
        (HALF_OPEN, OPEN, "HALF_OPEN"),
    ],
)
def test_breaker_shown_is_the_one_that_keeps_the_target_away(
    of_target: pb.BreakerState.ValueType, of_endpoint: pb.BreakerState.ValueType, expected: str
) -> None:
    assert expected == breaker_word(pb.TargetState(breaker=of_target), of_endpoint)


def test_endpoints_that_could_not_be_reached_are_named_with_the_reason() -> None:
    report = pb.ProviderStatusResponse(
        providers=[
            pb.ProviderState(provider="openai", endpoints=[pb.EndpointState(unreachable="no route")]),
            pb.ProviderState(
                provider="house", endpoints=[pb.EndpointState(endpoint="eu", unreachable="no name"), pb.EndpointState()]
            ),
        ]
    )

    assert list(unreachable(report)) == [
        "openai could not be reached when it was last looked at: no route",
        "house@eu could not be reached when it was last looked at: no name",
    ]
