"""The failover score can be believed: verdicts by what callers hold, and a short run through the real sidecar."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from bench.failover.__main__ import played
from bench.failover.contender import After, Cell
from bench.failover.judging import Told, Verdict, judged
from bench.failover.litellm import LiteLLM
from bench.failover.portkey import Portkey
from bench.failover.processes import Providers
from bench.failover.report import Results, document, joined, sums_table, tables
from bench.failover.rows import LEFT_OUT, QUICK, WORDS, all_rows
from bench.failover.turnout import Turnout
from tests.faults.table import FAULTS
from tests.faults.vendors import ANSWER, HALF

ROOTLESS = Path("/nowhere")
TOLD = Told(text=ANSWER, error="", hung=False, seconds=1.0)


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, Verdict.COMPLETE),
        ({"text": f" {ANSWER}\n"}, Verdict.COMPLETE),
        ({"text": HALF + ANSWER}, Verdict.COMPLETE),
        ({"text": HALF}, Verdict.CUT),
        ({"text": ""}, Verdict.EMPTY),
        ({"text": "<html>"}, Verdict.GARBAGE),
        ({"text": ANSWER + ANSWER}, Verdict.GARBAGE),
        ({"text": HALF, "error": "broken"}, Verdict.HONEST),
        ({"text": "", "error": "broken", "hung": True}, Verdict.HUNG),
    ],
)
def test_verdict_is_what_the_caller_holds(change: dict[str, object], verdict: Verdict) -> None:
    assert judged(replace(TOLD, **change)) is verdict  # type: ignore[arg-type]  # the table fits the fields


def test_process_that_was_ended_for_its_memory_has_answered_nothing() -> None:
    assert judged(TOLD, out_of_memory=True) is Verdict.MEMORY


def test_every_fault_is_played_for_unary_calls_and_for_streams() -> None:
    played_faults = {(row.fault.name, row.streamed) for row in all_rows()}

    assert {(name, streamed) for name in set(FAULTS) - LEFT_OUT for streamed in (False, True)} == played_faults
    assert set(WORDS) == set(FAULTS) - LEFT_OUT
    assert set(QUICK) <= set(WORDS)
    assert len({row.key for row in all_rows()}) == len(all_rows())


async def test_short_run_ends_complete_where_that_can_be_and_honest_where_it_cannot() -> None:
    rows = all_rows(frozenset({"reset_before_headers", "cut_clean", "error_later", "refused"}))
    results = await played([Turnout()], rows)
    found = {cell.row: cell.verdict for cell in results.cells}
    attempts = {cell.row: cell.attempts for cell in results.cells}

    assert {
        "reset-before-headers-unary": Verdict.COMPLETE,
        "reset-before-headers-stream": Verdict.COMPLETE,
        "cut-clean-unary": Verdict.COMPLETE,
        "cut-clean-stream": Verdict.HONEST,
        "error-later-unary": Verdict.COMPLETE,
        "error-later-stream": Verdict.HONEST,
        "refused-unary": Verdict.COMPLETE,
        "refused-stream": Verdict.COMPLETE,
    } == found
    # All rows share one retry budget: which of them get their one quick retry is a matter of who comes first.
    retried = {"reset-before-headers-unary", "reset-before-headers-stream", "error-later-unary"}
    assert all(attempts[row] in {1, 2} for row in retried)
    assert max(attempts[row] or 0 for row in retried) == 2
    assert {attempts[row] for row in found if row not in retried} == {1, None}
    assert [Verdict.COMPLETE] == [one.verdict for one in results.after]
    assert results.after[0].peak_mib > 0.0


def test_others_get_the_same_budget_and_the_same_fallback() -> None:
    rows = all_rows(frozenset({"cut"}))
    providers = Providers({"url": "http://p", "tls_url": "https://p", "refused_url": "http://r"})
    proxy = LiteLLM(folder=ROOTLESS, version="1").configuration(providers, rows)
    gateway = Portkey(folder=ROOTLESS, version="1").config_of(providers, rows[1])

    assert 2 == proxy["router_settings"]["num_retries"] == gateway["targets"][0]["retry"]["attempts"]
    assert 30.0 == proxy["router_settings"]["timeout"]
    assert [{"cut-unary": ["fallback"]}, {"cut-stream": ["fallback"]}] == proxy["router_settings"]["fallbacks"]
    assert ["http://p/cut/portkey-cut-stream/v1", "http://p/good/portkey-fallback/v1"] == [
        target["custom_host"] for target in gateway["targets"]
    ]


def cell(contender: str, row: str, verdict: Verdict, attempts: int | None = 1) -> Cell:
    return Cell(contender=contender, row=row, verdict=verdict.value, seconds=2.0, attempts=attempts, said="a | b")


RESULTS = Results(
    cells=[
        cell("Turnout", "cut-unary", Verdict.COMPLETE),
        cell("Turnout", "cut-stream", Verdict.HONEST),
        cell("Turnout, RESTART", "cut-stream", Verdict.COMPLETE),
        cell("Other 1", "cut-unary", Verdict.COMPLETE, 3),
        cell("Other 1", "cut-stream", Verdict.CUT),
        cell("Other 1", "dns-stream", Verdict.HUNG, None),
    ],
    after=[After(contender="Turnout", verdict=Verdict.COMPLETE, seconds=0.1, peak_mib=90.4)],
    configurations={"Turnout": {"a": 1}, "Other 1": {"b": 2}},
    absent=["Portkey"],
)


def test_tables_have_a_line_for_each_fault_and_a_column_for_each_contender() -> None:
    lines = tables(RESULTS)

    assert "| connection closed in the middle | complete, 2.0 s, 1 | complete, 2.0 s, 3 |" in lines
    assert (
        "| connection closed in the middle | honest error, 2.0 s, 1 | complete, 2.0 s, 1 "
        "| **wrong: cut, shown as success**, 2.0 s, 1 |"
    ) in lines
    assert "| the name cannot be resolved |  |  | **wrong: hung**, 2.0 s |" in lines
    assert "| Other 1 | 1 | 0 | 1 | 0 | 0 | 1 | 0 | 2.0 | 4 |" in sums_table(RESULTS)


def test_document_has_every_part_filled_in_and_tells_what_others_said_wrongly() -> None:
    text = document(RESULTS)

    assert "{{" not in text
    assert "| Other 1 | cut-stream | wrong: cut, shown as success | `a / b` |" in text
    assert "Not installed in this run: Portkey." in text
    assert Results.from_json(asdict(RESULTS)) == RESULTS


def test_runs_of_some_are_put_together_to_one_of_all() -> None:
    ours = replace(RESULTS, cells=RESULTS.cells[:3], configurations={"Turnout": {"a": 1}}, absent=["Other", "Portkey"])
    theirs = replace(RESULTS, cells=RESULTS.cells[3:], after=[], configurations={"Other 1": {"b": 2}})

    assert joined([ours, theirs]) == RESULTS
