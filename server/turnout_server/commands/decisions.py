"""`turnout decisions`: the latest decisions, newest first, as a table or to be taken elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import click

from turnout.answer import target_name
from turnout.v1 import admin_pb2 as pb
from turnout.v1 import router_pb2
from turnout_server.commands.numbers import MAX_MINUTES, FiniteRange
from turnout_server.commands.printing import as_dict, enum_word, print_columns, print_csv, print_json
from turnout_server.commands.sidecar import CALL_SECONDS, EPILOG, calling_admin, sidecar_options

PAGE_SIZE = 20
"""Records are whole: with hundreds of targets one has a hundred kilobytes."""
COLUMNS = (
    *("decision_id", "time", "kind", "result", "chosen", "answered", "attempts", "task", "tier", "tenant", "user"),
    *("request_id", "session_id", "strategy", "policy", "confidence", "input_tokens", "output_tokens", "cost_usd"),
    *("expected_cost_usd", "latency_seconds", "failures", "reason"),
)
RESULTS = ("ok", "failed", "unknown")


@click.command("decisions", epilog=EPILOG)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 10000), help="As many at most.")
@click.option("--target", default="", metavar="PROVIDER/MODEL", help="Those that chose or tried this target.")
@click.option("--task", default="", help="Those of this task.")
@click.option("--tenant", default="", help="Those of this tenant.")
@click.option("--result", type=click.Choice(RESULTS), help="Those that ended so.")
@click.option("--since", type=FiniteRange(min=0, max=MAX_MINUTES), metavar="MINUTES", help="Those of the last minutes.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, one line for each decision.")
@sidecar_options
def decisions(
    *,
    address: str | None,
    timeout_seconds: float | None,
    as_json: bool,
    as_csv: bool,
    limit: int,
    target: str,
    task: str,
    tenant: str,
    result: str | None,
    since: float | None,
) -> None:
    """List the latest decisions, newest first; --json has everything of each, to be kept or taken elsewhere."""
    if as_csv and as_json:
        raise click.UsageError("give --json or --csv, not both")
    request = pb.ListDecisionsRequest(target=target, task=task, tenant=tenant)
    if result is not None:
        request.result = pb.DecisionResult.Value(f"DECISION_RESULT_{result.upper()}")
    if since is not None:
        request.start_time.FromMicroseconds(round((time.time() - since * 60) * 1e6))
    records: list[pb.DecisionRecord] = []
    with calling_admin(address) as admin:
        while len(records) < limit:
            request.page_size = min(PAGE_SIZE, limit - len(records))
            page = admin.ListDecisions(request, timeout=timeout_seconds or CALL_SECONDS)
            records += page.decisions
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
    if as_json:
        print_json({"decisions": [as_dict(record) for record in records]})
    elif as_csv:
        print_csv([COLUMNS, *map(_csv_row, records)])
    elif records:
        print_columns([("DECISION", "TIME (UTC)", "KIND", "RESULT", "CHOSEN", "TASK", "REASON"), *map(_row, records)])
    else:
        click.echo("no decisions")


def _row(record: pb.DecisionRecord) -> tuple[str, ...]:
    decision = record.decision
    chosen = target_name(decision.candidates[0].target) if decision.candidates else "-"
    if record.attempts:
        chosen = target_name(record.attempts[-1].target)
    return (
        decision.decision_id,
        decision.decided_at.ToDatetime().strftime("%H:%M:%S"),
        enum_word(pb.DecisionKind, record.kind),
        enum_word(pb.DecisionResult, record.result),
        chosen,
        decision.task or "-",
        decision.reason,
    )


def _csv_row(record: pb.DecisionRecord) -> Iterable[object]:
    """Returns the cells below `COLUMNS`; "" is unknown. Tokens, cost and latency are of all attempts together."""
    decision, attempts, caller = record.decision, record.attempts, record.caller
    first = decision.candidates[0] if decision.candidates else None
    answered = next((attempt for attempt in attempts if attempt.ok), None)
    usages = [attempt.usage for attempt in attempts]
    known = [attempt for attempt in attempts if attempt.HasField("latency")]
    return (
        decision.decision_id,
        f"{decision.decided_at.ToDatetime().isoformat(timespec='milliseconds')}Z",
        enum_word(pb.DecisionKind, record.kind),
        enum_word(pb.DecisionResult, record.result),
        target_name(first.target) if first is not None else "",
        target_name(answered.target) if answered is not None else "",
        len(attempts),
        decision.task,
        decision.tier,
        caller.tenant,
        caller.user,
        record.request_id,
        record.session_id,
        enum_word(router_pb2.Strategy, decision.strategy),
        decision.policy,
        f"{decision.confidence:.3f}",
        _sum(usage.input_tokens for usage in usages if usage.HasField("input_tokens")),
        _sum(usage.output_tokens for usage in usages if usage.HasField("output_tokens")),
        _sum(attempt.cost_usd for attempt in attempts if attempt.HasField("cost_usd")),
        f"{first.expected_cost_usd:.9g}" if first is not None and first.HasField("expected_cost_usd") else "",
        f"{sum(attempt.latency.ToNanoseconds() for attempt in known) / 1e9:.3f}" if known else "",
        " ".join(enum_word(router_pb2.FailureKind, attempt.failure) for attempt in attempts if not attempt.ok),
        decision.reason,
    )


def _sum(values: Iterator[float]) -> str:
    known = list(values)
    return f"{sum(known):.9g}" if known else ""
