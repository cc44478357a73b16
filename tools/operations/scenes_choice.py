"""What is chosen: a target that never is, costs that jumped, no target at all, wrong keys, rate limits, budgets."""

from __future__ import annotations

from tools.operations.fleet import PROVIDERS
from tools.operations.processes import until
from tools.operations.records import Records
from tools.operations.stage import Stage

REJECTED = "sum by (target, reason) (increase(turnout_rejections_total[5m]))"
CHOSEN = "sum by (chosen) (increase(turnout_decisions_total[5m]))"
SPENT = "sum by (target) (increase(turnout_cost_usd_total[5m]))"
A_CALL = (
    "sum by (target) (increase(turnout_cost_usd_total[5m]))"
    ' / sum by (target) (increase(turnout_attempts_total{outcome="ok"}[5m]))'
)
WASTED = 'sum by (target, outcome) (increase(turnout_cost_usd_total{outcome!="ok"}[5m]))'
TOKENS = (
    "sum by (target, gen_ai_token_type) (increase(gen_ai_client_token_usage_sum[5m]))"
    " / sum by (target, gen_ai_token_type) (increase(gen_ai_client_token_usage_count[5m]))"
)
LEFT = "min by (budget) (turnout_budget_remaining_usd / turnout_budget_limit_usd)"
MOVED = "sum by (from, to, failure) (increase(turnout_failovers_total[5m]))"
OUTCOMES = "sum by (target, outcome) (increase(turnout_attempts_total[5m]))"
LIMITED = 'sum by (target) (turnout_attempts_total{outcome="RATE_LIMITED"})'
REFUSED = 'sum by (target, outcome) (increase(turnout_attempts_total{outcome!="ok"}[5m]))'
BREAKERS = 'max by (target) (turnout_target_breaker{state="CLOSED"})'
STATUSES = 'sum by (rpc_status_code) (increase(rpc_server_call_duration_seconds_count{rpc_method=~".*Execute.*"}[5m]))'
DECIDE = (
    "rpc.status_code",
    "turnout.decision.chosen",
    "turnout.decision.reason",
    "turnout.candidates.targets",
    "turnout.candidates.scores",
    "turnout.rejections.targets",
    "turnout.rejections.reasons",
    "turnout.target",
    "error.type",
    "turnout.attempt.cost_usd",
)

NEVER = {
    "routing": {"policies": {"default": {"limits": {"max_cost_usd": 0.5}}}},
    "providers": {
        "west": {
            "models": [{"name": "west-1", "context_window_tokens": 128_000, "max_output_tokens": 4_096, "quality": 85}]
        }
    },
}
CHEAP = {"routing": {"policies": {"default": {"strategy": "COST"}}}}
KEYED = {"providers": {"north": {"api_key_env": "NORTH_KEY"}}}
BUDGETS = {
    "budgets": [
        {"name": "daily", "scope": "global", "period": "day", "limit_usd": 0.02, "per_pod": True, "timezone": "UTC"},
        {
            "name": "team",
            "scope": "tenant",
            "period": "day",
            "limit_usd": 0.012,
            "per_pod": True,
            "timezone": "America/New_York",
        },
    ]
}


def never(stage: Stage, records: Records) -> None:
    """One target is rejected each time, another is always second."""
    stage.seen_calls(12)
    decision = stage.decision()
    records.command("explain", stage, "explain", decision)
    records.query("queries", stage, CHOSEN, REJECTED)
    records.picture(stage, records.spans("trace", stage, decision, DECIDE), "turnout.decide", 760)


def costs(stage: Stage, records: Records) -> None:
    """The cheapest target is overloaded, and what it did costs twice as much elsewhere."""
    stage.seen_calls(20)
    stage.plant("north", {"kind": "error", "problem": "overloaded"})
    stage.seen_calls(30, at_once=6)
    records.command("statistics", stage, "statistics", "--by", "target")
    records.query("queries", stage, SPENT, A_CALL, WASTED, MOVED)
    records.query("tokens", stage, TOKENS)
    records.command("events", stage, "events")
    records.spans("trace", stage, stage.decision("--target", "north/north-1"), DECIDE)


def nobody(stage: Stage, records: Records) -> None:
    """All providers fail; and a request that none can ever serve."""
    stage.seen_calls(8)
    for name in PROVIDERS:
        stage.plant(name, {"kind": "error", "status": 503})
    stage.seen_calls(40, at_once=8, timeout_seconds=4.0)
    records.command("status", stage, "status")
    records.command("route", stage, "route", "--task", "chat", fails=True)
    records.command("vision", stage, "route", "--capability", "vision", fails=True)
    records.query("queries", stage, CHOSEN, REJECTED, STATUSES)
    records.command("events", stage, "events", "--name", "unavailable", "--name", "breaker.opened", "--limit", "4")
    records.spans("trace", stage, stage.decision("--task", "chat", "--result", "failed"), DECIDE)


def network(stage: Stage, records: Records) -> None:
    """No provider can be reached at all: the way out is broken, and no breaker is to blame."""
    stage.seen_calls(8)
    for name in PROVIDERS:
        stage.plant(name, {"kind": "reset"})
    stage.seen_calls(6, at_once=2, timeout_seconds=10.0)
    records.command("events", stage, "events", "--name", "local_network")
    records.command("status", stage, "status")
    records.query("queries", stage, OUTCOMES, BREAKERS)


def limited(stage: Stage, records: Records) -> None:
    """Every provider asks for a pause."""
    stage.seen_calls(8)
    for name in PROVIDERS:
        stage.plant(name, {"kind": "error", "problem": "rate_limited", "retry_after_seconds": 45})
    stage.seen_calls(10, at_once=2, timeout_seconds=5.0)
    records.command("status", stage, "status")
    records.command("events", stage, "events", "--name", "cooling_down", "--name", "unavailable")
    records.query("queries", stage, LIMITED, REJECTED)
    records.spans("trace", stage, stage.decision("--result", "failed"), DECIDE)


def budget(stage: Stage, records: Records) -> None:
    """A budget is spent; two budgets of a day end at other times."""
    spending = {"caller": {"tenant": "acme"}, "max_output_tokens": 100}
    stage.seen_calls(100, **spending)
    stage.seen_calls(30, at_once=1, **spending)
    records.command("budgets", stage, "budgets")
    records.command("events", stage, "events", "--name", "budget.alert", "--name", "budget.exhausted")
    records.query("queries", stage, LEFT, REJECTED)
    records.spans("trace", stage, stage.decision("--result", "failed"), DECIDE)


def key(stage: Stage, records: Records) -> None:
    """One provider does not take its key."""
    stage.plant("north", api_key="right")
    stage.seen_calls(4)
    # Two refusals at least five seconds apart take a key out; one might be the vendor's mistake.
    until(lambda: bool(stage.calls(1)) and "credential.out" in stage.turnout("events"), "the event credential.out")
    stage.seen_calls(6)
    records.command("status", stage, "status")
    records.command("events", stage, "events", "--name", "credential.out")
    records.query("queries", stage, REFUSED, REJECTED)
    records.command("check", stage, "check", "--live", str(stage.file), fails=True)
    records.spans("trace", stage, stage.decision(), DECIDE)
