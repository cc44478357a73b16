"""The code repair: patches that fit come out, everything else is refused, and risk decides who is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from examples.auto_fix import Patch, UnfitPatchError, apply, read_patches
from tests.clients.scripted_sidecar import ScriptedSidecar, Serving
from tests.examples.speaking import speaking
from tests.examples.stage import Actor, stage
from turnout.v1 import router_pb2 as pb

pytestmark = pytest.mark.full

CODE = "import os\nx = 1\nprint(x)\n"
JOB: dict[str, Any] = {
    "file": "a.py",
    "code": CODE,
    "issues": [{"line": 1, "message": "os is not used"}],
    "risk_level": "low",
}


def patch(start: int, end: int, replacement: str = "y") -> dict[str, Any]:
    return {"line_start": start, "line_end": end, "replacement": replacement, "reason": "because"}


def proposed(*patches: dict[str, Any]) -> str:
    return json.dumps({"patches": list(patches)})


def test_risk_decides_who_proposes_the_patches(tmp_path: Path) -> None:
    cheap, good = Actor(wire="openai", quality=80, price=0.1), Actor(wire="anthropic", quality=95, price=9.0)
    with stage(tmp_path, cheap=cheap, good=good) as running:
        found = {
            risk: running.play("auto_fix.py", stdin=json.dumps(JOB | {"risk_level": risk})) for risk in ("low", "high")
        }

    for risk, target in (("low", "cheap/m"), ("high", "good/m")):
        assert found[risk].returncode == 0, found[risk].stderr
        result = json.loads(found[risk].stdout)
        assert set(result) == {"patches", "target", "cost_usd"}
        assert result["target"] == target
        assert result["cost_usd"] > 0
        (proposal,) = result["patches"]
        assert set(proposal) == {"line_start", "line_end", "replacement", "reason"}
        assert (proposal["line_start"], proposal["line_end"]) == (1, 1)


def test_a_provider_that_fails_does_not_stop_the_repair(tmp_path: Path) -> None:
    with stage(tmp_path, north=Actor(wire="openai"), south=Actor(wire="anthropic")) as running:
        running.change("north", fault={"kind": "error", "status": 503})
        ended = running.play("auto_fix.py", stdin=json.dumps(JOB | {"risk_level": "medium"}))

    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["target"] == "south/m"


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (proposed(patch(3, 4)), "lines 3 to 4 does not fit the file, which has the lines 1 to 3"),
        (proposed(patch(1, 2), patch(2, 2)), "lines 2 to 2 overlaps"),
        (proposed(patch(1, 1, "import os")), "change nothing"),
        (proposed(), "change nothing"),
        ("I would delete the first line.", "not a list of patches"),
    ],
    ids=["beyond the end", "overlap", "no change", "none", "no JSON"],
)
def test_what_does_not_fit_the_file_is_refused(tmp_path: Path, answer: str, complaint: str) -> None:
    with speaking(answer) as url, stage(tmp_path, spoken=Actor(wire="openai", base_url=url)) as running:
        ended = running.play("auto_fix.py", stdin=json.dumps(JOB))

    assert ended.returncode == 1
    assert complaint in ended.stderr
    assert ended.stdout == ""


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"risk_level": "huge"}, "risk_level is 'huge': give one of low, medium, high"),
        ({"code": 5}, "code is missing or not a string"),
        ({"issues": [{"line": True, "message": "x"}]}, "issues[0].line is missing or not a whole number"),
        ({"issues": [{"line": 4, "message": "x"}]}, "issues[0].line is 4: the code has the lines 1 to 3"),
        ({"issues": []}, "issues is empty: give at least one"),
    ],
    ids=["risk", "code", "line", "beyond", "no issues"],
)
def test_wrong_input_is_named_before_anybody_is_called(change: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    # Nobody listens: whoever called would fail otherwise.
    environment = {"TURNOUT_ADDRESS": f"unix:{tmp_path}/nobody"}
    ended = _alone(json.dumps(JOB | change), environment)

    assert ended == (2, f"auto_fix: {complaint}")


def test_input_that_is_no_json_is_named(tmp_path: Path) -> None:
    code, complaint = _alone("{", {"TURNOUT_ADDRESS": f"unix:{tmp_path}/nobody"})

    assert code == 2
    assert "the request is not JSON" in complaint


def test_no_sidecar_is_a_failure(tmp_path: Path) -> None:
    code, complaint = _alone(json.dumps(JOB), {"TURNOUT_ADDRESS": f"unix:{tmp_path}/nobody"})

    assert code == 1
    assert "the sidecar cannot be reached" in complaint


def test_an_end_that_only_a_newer_contract_knows_is_told() -> None:
    sidecar = ScriptedSidecar()
    output = pb.ChatOutput(finish_reason=cast("pb.FinishReason.ValueType", 42))
    sidecar.will("Execute", pb.ExecuteResponse(output=output))
    with Serving(sidecar):
        code, complaint = _alone(json.dumps(JOB), {"TURNOUT_ADDRESS": sidecar.address})

    assert (code, complaint) == (1, "auto_fix: the answer is not whole: it ended with 42")


@pytest.mark.parametrize(
    ("code", "patches", "fixed"),
    [
        ("a\nb\nc\n", [(1, 1, "x")], "x\nb\nc\n"),
        ("a\nb\nc\n", [(1, 2, "x\ny\nz")], "x\ny\nz\nc\n"),
        ("a\nb\nc\n", [(2, 2, "")], "a\nc\n"),
        ("a\nb\nc\n", [(1, 1, "x"), (3, 3, "z\n")], "x\nb\nz\n"),
        ("a\r\nb\r\n", [(1, 1, "x\ny")], "x\r\ny\r\nb\r\n"),
        ("a\nb", [(2, 2, "x\ny")], "a\nx\ny"),
        ("a\x0cb\nc\n", [(2, 2, "x")], "a\x0cb\nx\n"),
    ],
)
def test_patches_are_applied_by_line(code: str, patches: list[tuple[int, int, str]], fixed: str) -> None:
    made = [Patch(line_start=start, line_end=end, replacement=text, reason="") for start, end, text in patches]

    assert apply(code, made) == fixed


def test_patches_come_out_in_the_order_of_the_lines() -> None:
    assert [each.line_start for each in read_patches(proposed(patch(3, 3), patch(1, 1)), 3)] == [1, 3]


def test_a_patch_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(UnfitPatchError):
        read_patches(proposed(patch(2, 1)), 3)


def _alone(stdin: str, environment: dict[str, str]) -> tuple[int, str]:
    from tests.examples.stage import Stage  # noqa: PLC0415 - for its way to run an example

    ended = Stage(address="", control_url="").play("auto_fix.py", stdin=stdin, environment=environment)
    assert ended.stdout == ""
    return ended.returncode, ended.stderr.strip()
