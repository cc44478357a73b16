"""Runs the whole suite: builds each client, plays every case with each, runs each client's own tests."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.conformance.cases import Case
from tests.conformance.languages import CommandFailed, Language, NotRun
from tests.conformance.playing import Result, play
from tests.conformance.sidecars import TURNOUT
from tests.conformance.stage import PATIENCE_SECONDS, House

OWN_TESTS = "its own tests"
BUILD = "setting up and building"

Tell = Callable[[str], None]


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came of one client: its results by case, or why it was not run."""

    language: str
    not_run: str = ""
    results: dict[str, Result] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing failed; a client that could not be run has not failed."""
        return all(result.ok for result in self.results.values())

    def as_json(self) -> dict[str, Any]:
        """Returns it as plain values."""
        rows = {name: {"ok": row.ok, "why": row.why, "seconds": row.seconds} for name, row in self.results.items()}
        return {"language": self.language, "not_run": self.not_run, "ok": self.ok, "results": rows}


def run(
    languages: Sequence[Language],
    cases: Sequence[Case],
    *,
    jobs: int,
    own_tests: bool,
    tell: Tell,
    build: bool = True,
    patience_seconds: float = PATIENCE_SECONDS,
) -> list[Outcome]:
    """Plays every case with every client, so many clients at a time; `tell` hears of each that is done."""
    waiting: queue.SimpleQueue[Language] = queue.SimpleQueue()
    outcomes: dict[str, Outcome] = {}
    for language in languages:
        waiting.put(language)

    def work() -> None:
        with House(patience_seconds) as house:
            while True:
                try:
                    language = waiting.get_nowait()
                except queue.Empty:
                    return
                began_at = time.monotonic()
                outcome = outcomes[language.name] = _run_one(house, language, cases, own_tests=own_tests, build=build)
                failed = sum(not result.ok for result in outcome.results.values())
                how = f"not run: {outcome.not_run}" if outcome.not_run else f"{failed} of {len(outcome.results)} failed"
                tell(f"{language.name}: {how} ({time.monotonic() - began_at:.0f} s)")

    workers = [threading.Thread(target=work) for _ in range(min(jobs, len(languages)))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return [outcomes[language.name] for language in languages]


def _run_one(house: House, language: Language, cases: Sequence[Case], *, own_tests: bool, build: bool) -> Outcome:
    outcome = Outcome(language=language.name)
    began_at = time.monotonic()
    try:
        language.prepare(build=build)
    except NotRun as missing:
        outcome.not_run = str(missing)
        return outcome
    except CommandFailed as failed:
        seconds = time.monotonic() - began_at
        outcome.results[BUILD] = Result(case=BUILD, language=language.name, why=str(failed), seconds=seconds)
        return outcome
    if own_tests and language.test:
        # Before the cases: they may build anew what a running driver has open.
        outcome.results[OWN_TESTS] = own_tests_of(language)
    for case in cases:
        outcome.results[case.name] = play(house, language, case)
    return outcome


def own_tests_of(language: Language) -> Result:
    """Runs a client's own tests, which find the sidecar's command in TURNOUT_BIN."""
    began_at, why = time.monotonic(), ""
    try:
        language.own_tests(own_environment())
    except CommandFailed as failed:
        why = str(failed)
    return Result(case=OWN_TESTS, language=language.name, why=why, seconds=time.monotonic() - began_at)


def own_environment() -> Mapping[str, str]:
    """What clients' own tests find in the environment beside what is there."""
    return {"TURNOUT_BIN": str(TURNOUT)}


def table(outcomes: Sequence[Outcome], names: Sequence[str]) -> str:
    """Returns cases down, clients across, and below why what did not go well did not."""
    rows = [name for name in (BUILD, *names, OWN_TESTS) if any(name in outcome.results for outcome in outcomes)]
    rows = rows or list(names)
    width = max(map(len, [*rows, "case"]))
    columns = [max(len(outcome.language), len("not run")) for outcome in outcomes]
    heads = [outcome.language.ljust(column) for outcome, column in zip(outcomes, columns, strict=True)]
    lines = ["  ".join(["case".ljust(width), *heads]).rstrip()]
    for name in rows:
        cells = [_cell(outcome, name).ljust(column) for outcome, column in zip(outcomes, columns, strict=True)]
        lines.append("  ".join([name.ljust(width), *cells]).rstrip())
    seconds = [f"{sum(row.seconds for row in outcome.results.values()):.0f} s" for outcome in outcomes]
    times = [text.ljust(column) for text, column in zip(seconds, columns, strict=True)]
    lines.append("  ".join(["time".ljust(width), *times]).rstrip())
    lines += [f"\n{outcome.language}: not run: {outcome.not_run}" for outcome in outcomes if outcome.not_run]
    for outcome in outcomes:
        for result in outcome.results.values():
            if not result.ok:
                lines.append(f"\n{outcome.language}, {result.case}: {result.why}")
    return "\n".join(lines)


def _cell(outcome: Outcome, name: str) -> str:
    result = outcome.results.get(name)
    if result is None:
        return "not run" if outcome.not_run else "-"
    return "ok" if result.ok else "FAIL"
