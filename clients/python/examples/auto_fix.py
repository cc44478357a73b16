r"""Fixes code: takes a file with its issues, has a model propose patches, and passes on only those that fit the file.

    echo '{"file": "a.py", "code": "x = 1\n", "issues": [{"line": 1, "message": "unused"}], "risk_level": "low"}' |
      python auto_fix.py

The request comes as JSON from stdin, the answer goes to stdout as {"patches": […], "target": …, "cost_usd": …}. What is
risky goes to the best model, what is not to the cheapest. Exit codes: 0 patches, 1 failure, 2 wrong input. The sidecar
is found as every client finds it: TURNOUT_ADDRESS, else 127.0.0.1:50151.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import turnout
from turnout.v1 import router_pb2 as pb

MAX_OUTPUT_TOKENS = 4000
TIMEOUT_SECONDS = 120.0

STRATEGIES: Mapping[str, pb.Strategy.ValueType] = {
    "low": pb.STRATEGY_COST,
    "medium": pb.STRATEGY_UNSPECIFIED,
    "high": pb.STRATEGY_QUALITY,
}
"""By risk level; for a medium one the policy decides."""

INSTRUCTIONS = """You repair code. You get a file with numbered lines and the issues found in it.
Propose the smallest patches that mend the issues and change nothing else. A patch replaces the lines line_start to
line_end, both included and counted from 1, by the replacement, which ends without a line break; an empty replacement
deletes them. Patches must not overlap. Say in one sentence why each is right."""

SCHEMA = {
    "type": "object",
    "properties": {
        "patches": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "line_start": {"type": "integer", "minimum": 1},
                    "line_end": {"type": "integer", "minimum": 1},
                    "replacement": {"type": "string"},
                    "reason": {"type": "string"},
                },
                "required": ["line_start", "line_end", "replacement", "reason"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["patches"],
    "additionalProperties": False,
}


class WrongInputError(Exception):
    """The request is not what it must be; the text names the field and what would be right."""


class UnfitPatchError(Exception):
    """What the model proposed cannot be applied to the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """What is wrong in a line, counted from 1."""

    line: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A file to be repaired."""

    file: str
    code: str
    issues: Sequence[Issue]
    risk_level: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """Replaces the lines from `line_start` to `line_end`, both included and counted from 1."""

    line_start: int
    line_end: int
    replacement: str
    reason: str


def read_job(text: str) -> Job:
    """Reads a request. Raises WrongInputError."""
    try:
        given = json.loads(text)
    except ValueError as error:
        msg = f"the request is not JSON: {error}"
        raise WrongInputError(msg) from None
    file, code = _field(given, "file", str), _field(given, "code", str)
    risk_level = _field(given, "risk_level", str)
    if risk_level not in STRATEGIES:
        msg = f"risk_level is {risk_level!r}: give one of {', '.join(STRATEGIES)}"
        raise WrongInputError(msg)
    issues = [
        Issue(
            line=_field(issue, "line", int, f"issues[{place}]."),
            message=_field(issue, "message", str, f"issues[{place}]."),
        )
        for place, issue in enumerate(_field(given, "issues", list))
    ]
    line_count = len(lines_of(code))
    for place, issue in enumerate(issues):
        if not 1 <= issue.line <= line_count:
            msg = f"issues[{place}].line is {issue.line}: the code has the lines 1 to {line_count}"
            raise WrongInputError(msg)
    if not issues:
        raise WrongInputError("issues is empty: give at least one")
    return Job(file=file, code=code, issues=issues, risk_level=risk_level)


def chat_of(job: Job) -> pb.ChatInput:
    """Returns what the model is asked, and the form that its answer must have."""
    lines = "\n".join(f"{number:>5} {line.rstrip()}" for number, line in enumerate(lines_of(job.code), start=1))
    issues = "\n".join(f"line {issue.line}: {issue.message}" for issue in job.issues)
    chat = pb.ChatInput(
        messages=[
            turnout.message("system", INSTRUCTIONS),
            turnout.message("user", f"File {job.file}:\n{lines}\n\nIssues:\n{issues}"),
        ],
        max_output_tokens=MAX_OUTPUT_TOKENS,
    )
    chat.response_format.json_schema.name = "patches"
    chat.response_format.json_schema.schema_json = json.dumps(SCHEMA)
    return chat


def read_patches(text: str, line_count: int) -> list[Patch]:
    """Reads a model's answer for a file of so many lines, in the order of the lines. Raises UnfitPatchError."""
    try:
        given = json.loads(text)
        patches = [
            Patch(
                line_start=_field(patch, "line_start", int),
                line_end=_field(patch, "line_end", int),
                replacement=_field(patch, "replacement", str),
                reason=_field(patch, "reason", str),
            )
            for patch in _field(given, "patches", list)
        ]
    except (ValueError, WrongInputError) as error:
        msg = f"the answer is not a list of patches: {error}"
        raise UnfitPatchError(msg) from None
    patches.sort(key=lambda patch: patch.line_start)
    last = 0
    for patch in patches:
        where = f"the patch of lines {patch.line_start} to {patch.line_end}"
        if not 1 <= patch.line_start <= patch.line_end <= line_count:
            msg = f"{where} does not fit the file, which has the lines 1 to {line_count}"
            raise UnfitPatchError(msg)
        if patch.line_start <= last:
            msg = f"{where} overlaps the one before it"
            raise UnfitPatchError(msg)
        last = patch.line_end
    return patches


def lines_of(code: str) -> list[str]:
    """Returns the lines with their endings, as editors count them: other characters that break lines do not count."""
    lines = [line + "\n" for line in code.split("\n")]
    lines[-1] = lines[-1].removesuffix("\n")
    return lines if lines[-1] else lines[:-1]


def apply(code: str, patches: Sequence[Patch]) -> str:
    """Returns the code with the patches applied; line endings of the file are kept."""
    lines = lines_of(code)
    for patch in reversed(patches):
        old = lines[patch.line_start - 1 : patch.line_end]
        ending = old[-1][len(old[-1].rstrip("\r\n")) :]
        new = [line.rstrip("\r\n") + (ending or "\n") for line in lines_of(patch.replacement)]
        if new:
            new[-1] = new[-1].rstrip("\r\n") + ending
        lines[patch.line_start - 1 : patch.line_end] = new
    return "".join(lines)


def fix(client: turnout.Client, job: Job) -> dict[str, Any]:
    """Returns patches that fit the file, who proposed them, and what that cost (None: unknown).

    Raises TurnoutError where no model answers, and UnfitPatchError where its answer is of no use.
    """
    answer = client.execute(
        chat_of(job),
        task="auto_fix",
        options=pb.RoutingOptions(strategy=STRATEGIES[job.risk_level]),
        timeout_seconds=TIMEOUT_SECONDS,
    )
    if answer.finish_reason != pb.FINISH_REASON_STOP:
        # A reason of a newer contract has no name here.
        names = {number: name.removeprefix("FINISH_REASON_") for name, number in pb.FinishReason.items()}
        ended = names.get(answer.finish_reason, str(answer.finish_reason))
        msg = f"the answer is not whole: it ended with {ended}"
        raise UnfitPatchError(msg)
    patches = read_patches(answer.text, len(lines_of(job.code)))
    if apply(job.code, patches) == job.code:
        raise UnfitPatchError("the patches change nothing")
    target = turnout.target_name(answer.target)
    return {"patches": [asdict(patch) for patch in patches], "target": target, "cost_usd": answer.cost_usd}


def _field(given: Any, name: str, kind: type[Any], where: str = "") -> Any:
    """Returns a field of a JSON object. Raises WrongInputError, naming it, where it is missing or of another kind."""
    names = {str: "a string", int: "a whole number", list: "a list"}
    value = given.get(name) if isinstance(given, dict) else None
    # A bool is an int in Python, and in no request.
    if not isinstance(value, kind) or isinstance(value, bool):
        msg = f"{where}{name} is missing or not {names[kind]}"
        raise WrongInputError(msg)
    return value


def main() -> int:
    """Serves one request."""
    try:
        job = read_job(sys.stdin.read())
        with turnout.Client() as client:
            result = fix(client, job)
    except (WrongInputError, ValueError) as error:
        sys.stderr.write(f"auto_fix: {error}\n")
        return 2
    except (turnout.TurnoutError, UnfitPatchError) as error:
        sys.stderr.write(f"auto_fix: {error}\n")
        return 1
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
