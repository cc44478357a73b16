"""Built-in tables through the real Route: each row with all vendors configured, with some missing, and laid over."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import grpc
import pytest

from tests.api.sidecar import HELLO, Script, failing, running
from turnout.v1 import router_pb2 as pb
from turnout_server.config.build import build
from turnout_server.config.schema import Configuration
from turnout_server.core.model import FailureKind

TODAY = date(2026, 11, 21)

OPUS, SONNET, HAIKU = "anthropic/claude-opus-5-5", "anthropic/claude-sonnet-5-5", "anthropic/claude-haiku-5-5"
SMALL, CODESTRAL = "mistral/mistral-small-latest", "mistral/codestral-latest"
GPT_4O, GPT_4O_MINI, GEMINI_PRO = "openai/gpt-4o", "openai/gpt-4o-mini", "google/gemini-2.5-pro"

EVERY_VENDOR = (
    "anthropic openai google kimi groq cerebras minimax mistral xai openrouter".split()  # noqa: SIM905 - ten words
)

ROWS = [
    ("auto_fix", "", [SMALL, SONNET, CODESTRAL, GPT_4O, GPT_4O_MINI]),
    ("auto_fix", "free", [SMALL, SONNET, CODESTRAL, GPT_4O, GPT_4O_MINI]),
    ("auto_fix", "ultimate", [SMALL, SONNET, CODESTRAL, GPT_4O, GPT_4O_MINI]),
    ("code_review", "", [SONNET, CODESTRAL, GPT_4O, OPUS]),
    ("code_review", "pro", [SONNET, CODESTRAL, GPT_4O, OPUS]),
    ("chat", "", [HAIKU, SMALL, GPT_4O_MINI]),
    ("chat", "pro", [HAIKU, SMALL, GPT_4O_MINI]),
    ("chat", "free", [HAIKU]),
    ("chat", "ultimate", [SONNET]),
    ("planning", "", [HAIKU, SMALL, GPT_4O_MINI]),
    ("planning", "pro", [HAIKU, SMALL, GPT_4O_MINI]),
    ("planning", "free", [SMALL, HAIKU]),
    ("multimodal", "", [SONNET, GPT_4O, GEMINI_PRO]),
    ("multimodal", "free", [SONNET, GPT_4O, GEMINI_PRO]),
    ("complex_analysis", "", [OPUS]),
    ("complex_analysis", "ultimate", [OPUS]),
]

Values = Mapping[str, Any]


def names(decision: pb.Decision) -> list[str]:
    return [f"{each.target.provider}/{each.target.model}" for each in decision.candidates]


def preferred(decision: pb.Decision) -> list[str]:
    """Those that a table has put first, as the decision tells it, which must be the first ones."""
    told = [each.reason.startswith("preferred by ") for each in decision.candidates]
    count = sum(told)

    assert told == [True] * count + [False] * (len(told) - count)
    return names(decision)[:count]


async def routed(
    values: Values, *asked: tuple[str, str], today: date = TODAY, options: pb.RoutingOptions | None = None
) -> list[pb.Decision]:
    """What the real server decides for each task and tier."""
    parts = build(Configuration.model_validate(values), {}, today=today)
    whole = pb.RoutingOptions(detail=pb.DECISION_DETAIL_FULL)
    whole.MergeFrom(options or pb.RoutingOptions())
    async with running(specs=parts.fleet.specs, core=parts.settings) as sidecar:
        answers = []
        for task, tier in asked:
            # Short enough that every target of every row fits under the cap of every tier.
            profile = pb.RequestProfile(task=task, input_tokens=100, max_output_tokens=100)
            request = pb.RouteRequest(profile=profile, caller=pb.Caller(tier=tier), options=whole)
            answers.append((await sidecar.stub.Route(request, timeout=60)).decision)
        return answers


def vendors(*chosen: str, **sections: Values) -> dict[str, Any]:
    return {"providers": {**{name: {} for name in chosen}, **sections}}


def with_policy(policy: Values, *chosen: str) -> dict[str, Any]:
    return {**vendors(*(chosen or EVERY_VENDOR)), "routing": {"policies": {"default": policy}}}


async def test_every_row_holds_where_every_vendor_is_configured() -> None:
    decisions = await routed(vendors(*EVERY_VENDOR), *((task, tier) for task, tier, _ in ROWS))

    assert [expected for _, _, expected in ROWS] == [preferred(decision) for decision in decisions]
    # The strategy ranks the rest behind them.
    assert all(len(decision.candidates) > len(preferred(decision)) for decision in decisions)


@pytest.mark.parametrize("missing", ["anthropic", "openai", "mistral", "google"])
async def test_a_row_is_what_is_left_of_it_where_a_vendor_is_missing(missing: str) -> None:
    left = [name for name in EVERY_VENDOR if name != missing]
    decisions = await routed(vendors(*left), *((task, tier) for task, tier, _ in ROWS))
    of_any_tier = {task: row for task, tier, row in ROWS if not tier}

    def remaining(row: list[str]) -> list[str]:
        return [name for name in row if not name.startswith(f"{missing}/")]

    # A tier's row of which nothing is left gives way to the one for all tiers.
    expected = [remaining(row) or remaining(of_any_tier[task]) for task, _, row in ROWS]
    assert expected == [preferred(decision) for decision in decisions]


async def test_without_any_of_a_rows_vendors_the_strategy_ranks_alone() -> None:
    decisions = await routed(vendors("groq", "xai"), *((task, tier) for task, tier, _ in ROWS))

    assert all(preferred(decision) == [] and decision.candidates for decision in decisions)


async def test_of_a_vendors_enabled_models_the_first_of_the_line_is_meant() -> None:
    values = vendors(
        anthropic={"enabled_models": ["claude-sonnet-4-5", "claude-sonnet-4-6", "claude-haiku-4-5"]},
        openai={"enabled_models": ["gpt-6-sol", "gpt-6-luna"]},
        google={"enabled_models": ["gemini-4-argon"]},
    )
    review, chat, multimodal = await routed(values, ("code_review", ""), ("chat", ""), ("multimodal", ""))

    assert preferred(review) == ["anthropic/claude-sonnet-4-6", "openai/gpt-6-sol"]
    assert preferred(chat) == ["anthropic/claude-haiku-4-5", "openai/gpt-6-luna"]
    assert preferred(multimodal) == ["anthropic/claude-sonnet-4-6", "openai/gpt-6-sol", "google/gemini-4-argon"]


@pytest.mark.parametrize(
    ("today", "expected"),
    [
        (date(2027, 1, 13), [HAIKU, SMALL, "openai/gpt-4o-mini"]),
        (date(2027, 1, 14), [HAIKU, SMALL, "openai/gpt-5.6-luna"]),
    ],
)
async def test_from_the_day_a_model_retires_its_successor_stands_in_its_place(today: date, expected: list[str]) -> None:
    (decision,) = await routed(vendors(*EVERY_VENDOR), ("chat", ""), today=today)

    assert expected == preferred(decision)


async def test_a_row_names_every_endpoint_of_its_models() -> None:
    openai = {
        "enabled_models": ["gpt-4o"],
        "endpoints": [{"name": "eu", "region": "eu"}, {"name": "us", "region": "us"}],
    }
    (decision,) = await routed(vendors(openai=openai), ("multimodal", ""))

    assert ["eu", "us"] == [each.target.endpoint for each in decision.candidates[: len(preferred(decision))]]


TIER_CAPS = {"free": 0.01, "pro": 0.10, "ultimate": 1.00}


@pytest.mark.parametrize(("tier", "cap"), TIER_CAPS.items())
async def test_what_a_request_may_cost_goes_by_the_tier(tier: str, cap: float) -> None:
    parts = build(Configuration.model_validate(vendors(*EVERY_VENDOR)), {}, today=TODAY)
    async with running(specs=parts.fleet.specs, core=parts.settings) as sidecar:

        async def decided(asked_tier: str) -> pb.Decision:
            request = pb.RouteRequest(
                profile=pb.RequestProfile(task="complex_analysis", input_tokens=30_000, max_output_tokens=8_000),
                caller=pb.Caller(tier=asked_tier),
                options=pb.RoutingOptions(detail=pb.DECISION_DETAIL_FULL),
            )
            return (await sidecar.stub.Route(request, timeout=60)).decision

        without, capped = await decided(""), await decided(tier)
    cost = {name: each.expected_cost_usd for name, each in zip(names(without), without.candidates, strict=True)}
    dear = {name for name, usd in cost.items() if usd > cap}
    too_dear = {
        f"{each.target.provider}/{each.target.model}"
        for each in capped.rejections
        if pb.REJECTION_REASON_TIER in each.reasons
    }

    # Of retired models it is told as well.
    assert dear == too_dear & set(cost)
    assert all(each.expected_cost_usd <= cap for each in capped.candidates)
    # Opus, alone in the row, is too dear for the first two tiers: others serve them.
    assert (preferred(capped) == [OPUS]) == (cost[OPUS] <= cap)


async def test_a_policys_own_rows_replace_the_built_in_ones_row_by_row() -> None:
    tasks = {"chat": {"pro": [GPT_4O]}, "planning": {"any": [GEMINI_PRO]}, "triage": {"any": [OPUS]}}
    decisions = await routed(
        with_policy({"tasks": tasks}),
        ("chat", "pro"),
        ("chat", "free"),
        ("chat", ""),
        ("planning", "free"),
        ("triage", ""),
        ("multimodal", ""),
    )

    # A row for any tier stands in for all of its task's built-in rows.
    assert [preferred(decision) for decision in decisions] == [
        [GPT_4O],
        [HAIKU],
        [HAIKU, SMALL, GPT_4O_MINI],
        [GEMINI_PRO],
        [OPUS],
        [SONNET, GPT_4O, GEMINI_PRO],
    ]


async def test_an_empty_row_is_no_table() -> None:
    tasks: Values = {"chat": {"free": []}, "planning": {"any": []}}
    decisions = await routed(with_policy({"tasks": tasks}), ("chat", "free"), ("chat", ""), ("planning", "free"))

    assert [[], [HAIKU, SMALL, GPT_4O_MINI], []] == [preferred(decision) for decision in decisions]


async def test_without_built_in_tables_only_a_policys_own_rows_hold() -> None:
    policy: Values = {"built_in_tables": False, "tasks": {"chat": {"pro": [GPT_4O]}}}
    decisions = await routed(with_policy(policy), ("chat", "pro"), ("chat", ""), ("auto_fix", "free"))

    assert [[GPT_4O], [], []] == [preferred(decision) for decision in decisions]


async def test_a_policys_preferences_come_before_a_built_in_row() -> None:
    (decision,) = await routed(with_policy({"preferences": [OPUS]}), ("chat", ""))

    assert [OPUS, HAIKU, SMALL, GPT_4O_MINI] == preferred(decision)


async def test_where_somebody_chose_how_to_rank_no_built_in_row_holds() -> None:
    by_cost = pb.RoutingOptions(strategy=pb.STRATEGY_COST)
    by_weights = pb.RoutingOptions(weights=pb.Weights(quality=1.0))
    (by_policy,) = await routed(with_policy({"strategy": "COST"}), ("chat", ""))
    (by_request,) = await routed(vendors(*EVERY_VENDOR), ("chat", ""), options=by_cost)
    (weighed,) = await routed(vendors(*EVERY_VENDOR), ("chat", ""), options=by_weights)
    (own_row,) = await routed(with_policy({"strategy": "COST", "tasks": {"chat": {"any": [OPUS]}}}), ("chat", ""))

    assert [[], [], []] == [preferred(decision) for decision in (by_policy, by_request, weighed)]
    # What the operator has written holds under every strategy.
    assert [OPUS] == preferred(own_row)


async def test_a_tier_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="'gold' is not a tier; the tiers are free, pro, ultimate"):
        await routed(vendors("openai"), ("chat", "gold"))


SELECTED = {
    "policies": {
        "base": {"tasks": {"chat": {"any": [GPT_4O], "pro": [OPUS]}}},
        "blue": {"inherits": "base", "strategy": "COST"},
        "red": {"inherits": "base", "tasks": {"planning": {"any": [GEMINI_PRO]}}},
    },
    "select": [
        {"when": {"label": "team=blue"}, "policy": "blue"},
        {"when": {"tenant": "acme"}, "policy": "red"},
        {"when": {"tier": "ultimate"}, "policy": "base"},
    ],
}


@pytest.mark.parametrize(
    ("caller", "task", "policy", "expected"),
    [
        (pb.Caller(labels={"team": "blue"}), "chat", "blue", [GPT_4O]),
        (pb.Caller(labels={"team": "blue"}, tier="pro"), "chat", "blue", [OPUS]),
        # Its strategy was chosen, so that no built-in row holds.
        (pb.Caller(labels={"team": "blue"}), "planning", "blue", []),
        # A policy with tables of its own has none of those that it would inherit.
        (pb.Caller(tenant="acme", tier="free"), "chat", "red", [HAIKU]),
        (pb.Caller(tenant="acme", tier="free"), "planning", "red", [GEMINI_PRO]),
        (pb.Caller(tier="ultimate"), "chat", "base", [GPT_4O]),
        (pb.Caller(labels={"team": "green"}), "chat", "default", [HAIKU, SMALL, GPT_4O_MINI]),
    ],
)
async def test_tables_are_those_of_the_policy_that_label_tenant_or_tier_select(
    caller: pb.Caller, task: str, policy: str, expected: list[str]
) -> None:
    values = {**vendors(*EVERY_VENDOR), "routing": SELECTED}
    parts = build(Configuration.model_validate(values), {}, today=TODAY)
    async with running(specs=parts.fleet.specs, core=parts.settings) as sidecar:
        request = pb.RouteRequest(
            profile=pb.RequestProfile(task=task, input_tokens=100, max_output_tokens=100),
            caller=caller,
            options=pb.RoutingOptions(detail=pb.DECISION_DETAIL_FULL),
        )
        decision = (await sidecar.stub.Route(request, timeout=60)).decision

    assert (policy, expected) == (decision.policy, preferred(decision))


async def test_a_call_that_fails_goes_down_the_row() -> None:
    keys = {"ANTHROPIC_API_KEY": "planted", "MISTRAL_API_KEY": "planted", "OPENAI_API_KEY": "planted"}
    parts = build(Configuration.model_validate({}), keys, today=TODAY)
    down: Script = (failing(FailureKind.OVERLOADED, status=529),)
    async with running(specs=parts.fleet.specs, core=parts.settings, scripts={HAIKU: down, SMALL: down}) as sidecar:
        request = pb.ExecuteRequest(profile=pb.RequestProfile(task="chat"), input=HELLO)
        answer = await sidecar.stub.Execute(request, timeout=60)

    assert [HAIKU, SMALL, GPT_4O_MINI] == [f"{each.target.provider}/{each.target.model}" for each in answer.attempts]
