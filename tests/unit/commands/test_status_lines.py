import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from turnout.v1 import router_pb2 as pb
from turnout_server.commands.status import breaker_word, trouble_rows, unreachable

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


def test_targets_in_trouble_are_listed_with_what_they_fail_with_and_for_how_long_they_are_left_alone() -> None:
    def target(name: str, **fields: object) -> pb.TargetState:
        return pb.TargetState(target=pb.Target(provider="p", model=name), **fields)  # type: ignore[arg-type]

    report = pb.ProviderStatusResponse(
        as_of=Timestamp(seconds=100),
        providers=[
            pb.ProviderState(
                provider="p",
                endpoints=[pb.EndpointState(endpoint="eu", reopen_time=Timestamp(seconds=112))],
                targets=[
                    target("well"),
                    target("open", consecutive_failures=3, reopen_time=Timestamp(seconds=104)),
                    target(
                        "cooling",
                        error_rates={"TIMEOUT": 0.1, "RATE_LIMITED": 0.5},
                        cool_down_until=Timestamp(seconds=145),
                    ),
                    target("shaky", error_rates={"STALLED": 0.25}),
                    pb.TargetState(target=pb.Target(provider="p", model="m", endpoint="eu")),
                ],
            )
        ],
    )

    assert trouble_rows(report) == [
        ("p/open", "-", "3", "4 s"),
        ("p/cooling", "RATE_LIMITED 50%, TIMEOUT 10%", "0", "45 s"),
        ("p/shaky", "STALLED 25%", "0", "-"),
        ("p/m@eu", "-", "0", "12 s"),
    ]
