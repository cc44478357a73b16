"""What is shown is what was recorded: way, latency, reason, event, state."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from turnout.v1 import router_pb2 as pb
from turnout_server.demo.lines import LineShow
from turnout_server.demo.record import Act, Mode, RequestRecord, SeenAttempt
from turnout_server.demo.screen import LiveShow
from turnout_server.demo.show import Show, Source, choice_text, duration_text, route_taken
from turnout_server.demo.sidecar_log import event_text
from turnout_server.demo.watch import StatusWatch

RECORD = RequestRecord(
    number=1,
    at_seconds=1.5,
    act=Act.BEFORE,
    mode=Mode.ADVISE,
    ask="chat",
    latency_seconds=0.123,
    target="cirrus/medium",
    reason="cheapest of three",
    choice="COST 1.00, cheapest of three",
    attempts=(SeenAttempt(target="boreal/small", failure="OVERLOADED"), SeenAttempt(target="cirrus/medium")),
)


def watch() -> StatusWatch:
    found = StatusWatch(clock=lambda: 2.0)
    state = pb.TargetState(
        target=pb.Target(provider="boreal", model="small"),
        health=pb.HEALTH_STATE_OFFLINE,
        breaker=pb.BREAKER_STATE_OPEN,
        score=12.0,
        request_count=41,
    )
    found.take(pb.ProviderStatusResponse(providers=[pb.ProviderState(provider="boreal", targets=[state])]))
    return found


def perform(show: Show) -> None:
    show.request(RECORD)
    show.event(2.0, Source.SIDECAR, "breaker.opened boreal/small")
    show.status(2.0, watch())
    show.close()


def shown_as_lines() -> str:
    lines: list[str] = []
    perform(LineShow(lines.append))
    return "\n".join(lines)


def shown_on_a_terminal() -> str:
    output = io.StringIO()
    perform(LiveShow(Console(file=output, force_terminal=True, width=160, height=50, color_system=None)))
    return output.getvalue()


@pytest.mark.parametrize("text", [shown_as_lines(), shown_on_a_terminal()], ids=["lines", "terminal"])
def test_show_tells_way_latency_reason_event_and_state(text: str) -> None:
    for part in (
        "boreal/small OVERLOADED → cirrus/medium",
        "123 ms",
        "cheapest of three",
        "breaker.opened boreal/small",
        "OFFLINE",
        "OPEN",
        "41",
    ):
        assert part in text


def test_target_kept_off_by_its_endpoint_is_shown_so() -> None:
    found = watch()
    state = pb.TargetState(target=pb.Target(provider="boreal", model="large"), breaker=pb.BREAKER_STATE_CLOSED)
    endpoint = pb.EndpointState(breaker=pb.BREAKER_STATE_OPEN)
    provider = pb.ProviderState(provider="boreal", endpoints=[endpoint], targets=[state])
    found.take(pb.ProviderStatusResponse(providers=[provider]))

    assert found.breaker_text("boreal/large") == "OPEN (endpoint)"
    assert found.opened("boreal") == {"boreal", "boreal/small"}


def test_terminal_says_above_everything_what_was_staged_last_however_many_events_follow() -> None:
    output = io.StringIO()
    show = LiveShow(Console(file=output, force_terminal=True, width=160, height=24, color_system=None))
    show.event(9.0, Source.STAGE, "boreal fails: 503 to everything")
    for number in range(20):
        show.event(10.0 + number, Source.SIDECAR, f"breaker.opened boreal/small {number}")
    show.status(30.0, watch())
    output.truncate(0)
    show.close()

    assert "boreal fails: 503 to everything" in output.getvalue()


def candidate(name: str, score: float) -> pb.Candidate:
    provider, _, model = name.partition("/")
    return pb.Candidate(target=pb.Target(provider=provider, model=model), score=score)


@pytest.mark.parametrize(
    ("candidates", "rejected", "text"),
    [
        ([candidate("a/x", 1.0)], {}, "COST 1.00"),
        ([candidate("a/x", 0.954), candidate("b/y", 0.5), candidate("c/z", 0.4)], {}, "COST 0.95, then b/y 0.50"),
        ([candidate("a/x", 0.9)], {"TIER": 1, "BREAKER_OPEN": 2}, "COST 0.90; 2 BREAKER_OPEN, 1 TIER"),
        ([], {"REGION": 3}, "COST: no candidate; 3 REGION"),
    ],
)
def test_choice_tells_scores_and_rejections_in_a_few_words(
    candidates: list[pb.Candidate], rejected: dict[str, int], text: str
) -> None:
    decision = pb.Decision(strategy=pb.STRATEGY_COST, candidates=candidates, rejection_counts=rejected)

    assert text == choice_text(decision)


def test_lines_tell_the_targets_only_every_few_seconds() -> None:
    lines: list[str] = []
    show = LineShow(lines.append)
    for at_seconds in (0.0, 1.0, 4.9, 5.0, 6.0):
        show.status(at_seconds, watch())

    assert len(lines) == 2


def test_failed_request_is_shown_with_its_error() -> None:
    lines: list[str] = []
    failed = RequestRecord(
        number=1,
        at_seconds=0.0,
        act=Act.BEFORE,
        mode=Mode.STREAM,
        ask="chat",
        latency_seconds=0.1,
        error="DEADLINE: late",
    )
    LineShow(lines.append).request(failed)

    assert "no target" in lines[0]
    assert "FAILED: DEADLINE: late" in lines[0]


@pytest.mark.parametrize(("seconds", "text"), [(0.0851, "85 ms"), (0.9999, "1000 ms"), (1.239, "1.24 s")])
def test_durations_are_written_for_people(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_way_of_a_request_without_attempts_is_its_target() -> None:
    blank = RequestRecord(
        number=1, at_seconds=0.0, act=Act.BEFORE, mode=Mode.STREAM, ask="chat", latency_seconds=0.1, target="a/b"
    )

    assert route_taken(blank) == "a/b"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ({"event": "breaker.opened", "level": "info", "target": "a/b", "seconds": 2.0}, "breaker.opened a/b seconds=2"),
        ({"event": "request finished", "level": "info"}, ""),
        ({"event": "call", "level": "warning", "method": "Execute", "result": "DEADLINE"}, ""),
        ({"event": "odd", "level": "warning", "provider": "a", "trace_id": "1"}, "odd a"),
        ({}, ""),
    ],
)
def test_only_events_and_warnings_of_the_log_are_shown(line: dict[str, object], text: str) -> None:
    assert event_text(line) == text
