"""The traces as data: what there is, when faults hold, and what is said of a file that is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from bench.decisions.trace import Fault, Trace, What, all_traces, fleet

ASKED_FOR = {
    "hard outage", "brown-out", "flapping", "slow provider", "rate-limit waves", "partial regional failure",
    "price step", "quiet weekend", "calm",
}  # fmt: skip
CALLS_LEAST = 20_000
GOOD = {
    "name": "n",
    "source": "s",
    "minutes": 10,
    "sidecars": 1,
    "traffic": [{"at": 0, "calls_per_minute": 1}],
    "faults": [{"what": "errors", "where": "north/*", "at": 1, "until": 2}],
}


def test_there_is_a_trace_of_everything_asked_for_and_each_says_where_its_numbers_are_from() -> None:
    traces = all_traces()

    assert {trace.name for trace in traces} >= ASKED_FOR
    assert all(len(trace.source) > 40 for trace in traces)


@pytest.mark.parametrize("trace", all_traces(), ids=lambda trace: trace.name)
def test_every_trace_has_twenty_thousand_calls(trace: Trace) -> None:
    ends = [part.at for part in trace.traffic[1:]] + [trace.minutes]
    calls = sum(
        (end - part.at) * part.calls_per_minute * trace.sidecars for part, end in zip(trace.traffic, ends, strict=True)
    )

    assert calls >= CALLS_LEAST


@pytest.mark.parametrize("trace", all_traces(), ids=lambda trace: trace.name)
def test_some_target_is_always_well(trace: Trace) -> None:
    for second in range(0, int(trace.seconds), 30):
        well = [
            target.name
            for target in fleet().targets
            if not any(fault.fits(target.name) and fault.holds(second) for fault in trace.faults)
        ]

        assert well, second


def test_a_fault_that_repeats_holds_in_each_of_its_turns_and_not_between_or_after() -> None:
    fault = Fault(what=What.SILENT, where="*", at=1, until=1.5, repeat_every_minutes=2, times=2)
    held = [second for second in range(0, 600, 15) if fault.holds(second)]

    assert held == [60, 75, 180, 195]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"minutes": 0}, "minutes"),
        ({"sidecars": 1.5}, "sidecars"),
        ({"traffic": []}, "traffic"),
        ({"traffic": [{"at": 1, "calls_per_minute": 1}]}, "traffic must begin at minute 0"),
        ({"fault": []}, "fault"),
        ({"faults": [{**GOOD["faults"][0], "until": 1}]}, "until (1) must be later than at (1)"),  # type: ignore[index]
        ({"faults": [{**GOOD["faults"][0], "where": "nowhere/*"}]}, "nothing in the fleet fits 'nowhere/*'"),  # type: ignore[index]
        ({"faults": [{**GOOD["faults"][0], "what": "sulks"}]}, "faults.0.what"),  # type: ignore[index]
        ({"faults": [{**GOOD["faults"][0], "share": 1.1}]}, "faults.0.share"),  # type: ignore[index]
        ({"faults": [{**GOOD["faults"][0], "times": 2}]}, "times needs repeat_every_minutes"),  # type: ignore[index]
    ],
)
def test_what_is_wrong_with_a_trace_is_told_with_its_field(change: dict[str, Any], path: str) -> None:
    Trace.model_validate(GOOD)
    with pytest.raises(ValidationError) as caught:
        Trace.model_validate({**GOOD, **change})
    told = [f"{'.'.join(map(str, error['loc']))} {error['msg']}" for error in caught.value.errors()]

    assert any(path in line for line in told), told
