"""The runner itself: a client that lacks something fails, one without a toolchain is not run, a wrong case is named."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.clients.scripted_sidecar import ScriptedSidecar, Serving
from tests.conformance.cases import DRIVER_OPS, Case, cases, read
from tests.conformance.expectations import differences
from tests.conformance.languages import Language, NotRun, languages
from tests.conformance.playing import play
from tests.conformance.relay import Relay
from tests.conformance.stage import House
from tests.conformance.suite import BUILD, OWN_TESTS, Outcome, run, table
from tests.conformance.values import CaseError, filled
from turnout.v1 import router_pb2 as pb
from turnout.v1 import router_pb2_grpc

FIXTURES = Path(__file__).with_name("fixtures")
SCRIPTED = """
about: A plan.
scripted: {Route: [{answer: {decision: {decisionId: d-1}}}]}
steps:
"""


def driver(name: str, **more: object) -> Language:
    """A language whose driver is one of the fixtures."""
    return Language(name=name, folder=FIXTURES, run=(sys.executable, f"{name}.py"), **more)  # type: ignore[arg-type]


def python() -> Language:
    """The client that every machine which runs this test has."""
    return next(language for language in languages() if language.name == "python")


def case(folder: Path, steps: str, head: str = SCRIPTED) -> Case:
    file = folder / "case.yaml"
    file.write_text(head + steps)
    return read(file)


@pytest.fixture
def house() -> Iterator[House]:
    with House(patience_seconds=60) as running:
        yield running


@pytest.mark.full
def test_a_client_that_lacks_an_operation_fails_every_case_with_it() -> None:
    scripted = [each for each in cases() if each.scripted is not None and any("op" in step for step in each.steps)]
    lacking = driver("knows_nothing")

    with House(patience_seconds=1) as hurried:
        results = [play(hurried, lacking, each) for each in scripted]

    assert len(results) >= 20
    assert [] == [result.case for result in results if result.ok]


def test_a_new_case_with_an_operation_that_a_client_does_not_know_fails(house: House, tmp_path: Path) -> None:
    known = play(house, python(), case(tmp_path, "  - {op: route, request: {}, expect: {response: <something>}}"))
    new = play(house, python(), case(tmp_path, "  - {op: teleport, client: main, expect: {}}"))

    assert known.ok, known.why
    assert "step 1 (teleport)" in new.why
    assert "UNSUPPORTED" in new.why


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        (
            "  - {op: route, request: {}, expect: {response: {decision: {decisionId: d-2}}}}",
            "expected 'd-2', got 'd-1'",
        ),
        ("  - {op: route, request: {}, error: {kind: REFUSED}}", "expected an error"),
        ("  - {op: route, request: {options: {nothing: 1}}}", "expected an answer"),
        ("  - {op: route, request: {}}\n  - {received: Route, expect: !count 0 }", "expected 0, got 1"),
        ("  - {op: route, request: {}}\n  - {check: '${first.called}', expect: 1}", "'first' is not known"),
    ],
)
def test_what_does_not_come_out_as_expected_fails(house: House, tmp_path: Path, steps: str, says: str) -> None:
    result = play(house, python(), case(tmp_path, steps))

    assert says in result.why


def test_a_driver_that_writes_something_else_or_nothing_fails(house: House, tmp_path: Path) -> None:
    asked = case(tmp_path, "  - {op: route, request: {}}")
    chatters = play(house, driver("chatters"), asked)
    with House(patience_seconds=1) as hurried:
        silent = play(hurried, driver("silent"), asked)

    assert "it wrote what is no reply: b'Starting up!" in chatters.why
    assert "about to say what nobody asked for" in chatters.why
    assert "no reply after 1 s" in silent.why


def test_a_client_without_its_toolchain_is_not_run_and_has_not_failed(tmp_path: Path) -> None:
    told: list[str] = []
    absent = driver("knows_nothing", needs=("no-such-compiler",))
    broken = driver("silent", build=((sys.executable, "-c", "raise SystemExit('no header')"),))

    outcomes = run(
        [absent, broken], [case(tmp_path, "  - {op: route, request: {}}")], jobs=1, own_tests=True, tell=told.append
    )

    assert [True, False] == [outcome.ok for outcome in outcomes]
    assert "no-such-compiler: not on this machine" == outcomes[0].not_run
    assert "no header" in outcomes[1].results[BUILD].why
    assert 2 == len(told)
    text = table(outcomes, ["case"])
    assert "not run" in text.splitlines()[1]
    assert "FAIL" in text.splitlines()[1]
    assert "knows_nothing: not run: no-such-compiler: not on this machine" in text


def test_a_clients_own_tests_are_part_of_the_table() -> None:
    tests = ((sys.executable, "-c", "import os; raise SystemExit(0 if os.environ['TURNOUT_BIN'] else 1)"), ("false",))
    both = run(
        [driver("knows_nothing", test=tests[:1]), driver("silent", test=tests[1:])],
        [],
        jobs=2,
        own_tests=True,
        tell=lambda _: None,
    )

    assert [True, False] == [outcome.results[OWN_TESTS].ok for outcome in both]
    assert json.loads(json.dumps([outcome.as_json() for outcome in both]))[0]["results"][OWN_TESTS]["ok"]


def test_all_clients_and_cases_can_be_read() -> None:
    assert len(cases()) >= 60
    assert {"python"} <= {language.name for language in languages()}
    assert DRIVER_OPS - {"hello", "measure"} <= {step["op"] for each in cases() for step in each.steps if "op" in step}


def test_a_missing_toolchain_is_told_before_anything_is_run() -> None:
    with pytest.raises(NotRun, match="no-such-compiler"):
        driver("silent", needs=("no-such-compiler",), build=(("false",),)).prepare()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("about: x\nsteps: []", "needs about"),
        ("about: x\nstep: [{op: route}]", "has keys besides"),
        ("about: x\nsteps: [{jump: 1}]", "step 1: has one of"),
        ("about: x\nsteps: [{op: route, expect: {}, error: {}}]", "expects an answer and an error"),
        ("about: x\nsteps: [{pause: 1, expect: {}}]", "pause has no expect"),
        ("about: x\nsteps: [{op: route, expects: {}}]", "step 1: route has no expects"),
        ("about: x\nsteps: [{op: route, background: a, expect: {}}]", "step 1: what runs in the background"),
        ("about: x\nsteps: [{op: route, at_once: 2, times: 2}]", "step 1: is done at_once, or one after another"),
        ("about: x\nsteps: [{op: route, background: a}]", "a runs in the background and is never awaited"),
        ("about: x\nsidecar: {listen: http}\nsteps: [{pause: 1}]", "sidecar.listen is one of"),
        ("about: x\nsidecar: {}\nscripted: {}\nsteps: [{pause: 1}]", "take one of them"),
        ("about: x\nsteps: [{pause: !hours 1}]", "hours"),
        ("about: [", "case.yaml"),
    ],
)
def test_a_case_that_cannot_be_read_says_what_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(CaseError, match=r"case\.yaml") as caught:
        case(tmp_path, "", text)

    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "needs language and run"),
        ('{"language": "x"}', "needs language and run"),
        ('{"language": "x", "run": ["x"], "lint": []}', "needs language and run"),
        ('{"language": "x", "run": "x y"}', "must be a list of words"),
        ('{"language": "x", "run": ["x"], "build": "make"}', "must be a command or a list"),
    ],
)
def test_a_driver_file_that_cannot_be_read_says_what_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "some" / "conformance" / "driver.json"
    file.parent.mkdir(parents=True)
    file.write_text(text)

    with pytest.raises(ValueError, match=says):
        languages(tmp_path)


@pytest.mark.parametrize(
    ("expected", "fits", "does_not"),
    [
        ("{a: 1}", {"a": 1, "b": 2}, {"a": 2}),
        ("{a: 0.1}", {"a": 0.1000000001}, {"a": 0.11}),
        ("{a: true}", {"a": True}, {"a": 1}),
        ("{a: false}", {}, {"a": True}),
        ("[1, {b: 2}]", [1, {"b": 2, "c": 3}], [1]),
        ("{a: <something>}", {"a": 0}, {"a": ""}),
        ("{a: <nothing>}", {"a": []}, {"a": 0}),
        ("!at_least 3", "3", 2.9),
        ("!at_most 3", 3, 3.1),
        ("!between [1, 2]", 1.5, None),
        ("!one_of [a, <nothing>]", None, "b"),
        ("!not {a: 1}", {"a": 2}, {"a": 1, "b": 2}),
        ("!text ^ab", "ABC", "cab"),
        ("!count 2", [1, 2], None),
        ("!longer 2", "abc", "a"),
        ("!count_between [1, 2]", "ab", "abc"),
        ("!includes [1, 2]", [3, 2, 1], [1, 3]),
        ("!each {a: 1}", [{"a": 1}], []),
    ],
)
def test_words_of_cases_mean_what_the_readme_says(
    tmp_path: Path, expected: str, fits: object, does_not: object
) -> None:
    meant = case(tmp_path, f"  - check: x\n    expect: {expected}").steps[0]["expect"]

    assert [] == list(differences(filled(meant, {}), fits))
    assert [] != list(differences(filled(meant, {}), does_not))


def test_a_relay_passes_on_until_it_is_cut() -> None:
    sidecar = ScriptedSidecar()
    sidecar.will("Route", *[pb.RouteResponse(decision=pb.Decision(decision_id="d-1"))] * 3)
    with Serving(sidecar), Relay(sidecar.address) as relay, grpc.insecure_channel(relay.address) as channel:
        stub = router_pb2_grpc.RouterServiceStub(channel)
        first = stub.Route(pb.RouteRequest(), timeout=60, wait_for_ready=True)
        relay.accept(accepting=False)
        relay.cut()
        with pytest.raises(grpc.RpcError) as caught:
            stub.Route(pb.RouteRequest(), timeout=60)
        relay.accept(accepting=True)
        again = stub.Route(pb.RouteRequest(), timeout=60, wait_for_ready=True)

    assert "d-1" == first.decision.decision_id == again.decision.decision_id
    assert grpc.StatusCode.UNAVAILABLE == caught.value.code()


def test_a_relay_swallows_what_comes_on_the_connections_there_are_and_passes_on_new_ones() -> None:
    sidecar = ScriptedSidecar()
    sidecar.will("Route", *[pb.RouteResponse(decision=pb.Decision(decision_id="d-1"))] * 3)
    with Serving(sidecar), Relay(sidecar.address) as relay:
        own = (("grpc.use_local_subchannel_pool", 1),)
        with grpc.insecure_channel(relay.address, own) as old, grpc.insecure_channel(relay.address, own) as new:
            stub = router_pb2_grpc.RouterServiceStub(old)
            stub.Route(pb.RouteRequest(), timeout=60, wait_for_ready=True)
            relay.swallow()
            with pytest.raises(grpc.RpcError) as caught:
                stub.Route(pb.RouteRequest(), timeout=1)
            answer = router_pb2_grpc.RouterServiceStub(new).Route(pb.RouteRequest(), timeout=60, wait_for_ready=True)

    assert grpc.StatusCode.DEADLINE_EXCEEDED == caught.value.code()
    assert "d-1" == answer.decision.decision_id
    assert ["Route", "Route"] == sidecar.methods()


def test_the_table_has_cases_down_and_clients_across() -> None:
    text = table([Outcome(language="go"), Outcome(language="java", not_run="mvn: not on this machine")], ["plan"])

    assert ["case  go       java", "plan  -        not run"] == text.splitlines()[:2]
