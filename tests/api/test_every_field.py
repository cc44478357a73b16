"""Every field that can come in is checked: one that the contract gains has no row here, and fails until it has one."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from turnout.v1 import admin_pb2, router_pb2
from turnout.v1 import router_pb2 as pb
from turnout_server.api import event_feed, shadows
from turnout_server.api.admin_service import AdminService
from turnout_server.api.administration import registered_provider, scope_places, update_provider
from turnout_server.api.budgets import changed_budget, new_budget, unwanted_budget, wanted_budget, wanted_page
from turnout_server.api.chat_requests import chat_input
from turnout_server.api.checks import wanted_checks
from turnout_server.api.decision_records import decision_filter, page_size, wanted_decision
from turnout_server.api.faults import Faults
from turnout_server.api.looking_back import clear_before, comparison_query, statistics_query, trend_query
from turnout_server.api.provider_states import resume_revision, status_query
from turnout_server.api.registering import new_provider, provider_facts, unwanted_provider
from turnout_server.api.reports import check_counts, feedback, outcome
from turnout_server.api.requests import route_query
from turnout_server.api.routing_rules import get_routing, routing_change, wanted_policy
from turnout_server.api.spend_series import spend_query
from turnout_server.api.state_transfer import imported
from turnout_server.calendars import calendar
from turnout_server.core.budget import BudgetPeriod, BudgetScope, BudgetSpec
from turnout_server.core.errors import InvalidRequestError
from turnout_server.core.fleet import Fleet, TargetSpec
from turnout_server.core.model import Target
from turnout_server.core.settings import Settings
from turnout_server.core.state import FleetState
from turnout_server.state.document import document
from turnout_server.use_cases.administration import Administration

NOW_WALL = 1_700_000_000.0

# Good requests, with something of everything that a row below is about.

TEXT_TURN = pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text="hello")])
IMAGE = pb.Image(data=b"x", media_type="image/png")
CHAT = pb.ChatInput(
    messages=[
        TEXT_TURN,
        pb.Message(
            role=pb.ROLE_USER,
            parts=[
                pb.Part(image=IMAGE),
                pb.Part(audio=pb.Audio(data=b"x", media_type="audio/wav")),
                pb.Part(document=pb.Document(url="https://a.example/b", media_type="application/pdf")),
            ],
        ),
        pb.Message(
            role=pb.ROLE_ASSISTANT,
            parts=[
                pb.Part(reasoning=pb.Reasoning(text="hm"), signature="s", origin_provider="anthropic"),
                pb.Part(tool_call=pb.ToolCall(id="c", name="t", arguments_json="{}"), cache_breakpoint=True),
            ],
        ),
        pb.Message(
            role=pb.ROLE_TOOL,
            parts=[pb.Part(tool_result=pb.ToolResult(tool_call_id="c", name="t", content=[pb.Part(text="x")]))],
        ),
    ],
    tools=[pb.Tool(name="t", description="d", parameters_json_schema="{}")],
    tool_choice=pb.ToolChoice(mode=pb.TOOL_CHOICE_MODE_NAMED, name="t"),
    response_format=pb.ResponseFormat(json_schema=pb.JsonSchema(name="n", schema_json="{}", strict=False)),
)
EXECUTE = pb.ExecuteRequest(
    profile=pb.RequestProfile(task="chat"),
    options=pb.RoutingOptions(weights=pb.Weights(cost=1)),
    caller=pb.Caller(tenant="t"),
    input=CHAT,
)
OUTCOME = pb.Outcome(
    attempt_id="a",
    target=pb.Target(provider="p", model="m"),
    ok=True,
    latency=Duration(seconds=1),
    usage=pb.Usage(input_tokens=10, output_tokens=5),
    rate_limit=pb.RateLimitState(requests=pb.RateLimitBucket(limit=1), tokens=pb.RateLimitBucket(limit=1)),
    caller=pb.Caller(tenant="t"),
)
CHANGE = admin_pb2.UpdateBudgetRequest(
    budget=admin_pb2.Budget(name="monthly", limit_usd=5, per_pod=True, spend=[admin_pb2.BudgetSpend()])
)
NEW_PROVIDER = admin_pb2.RegisterProviderRequest(
    provider=admin_pb2.RegisteredProvider(
        provider="house",
        wire="openai",
        base_url="https://llm.example.com/v1",
        models=[admin_pb2.RegisteredModel(name="m", latency_prior=Duration(seconds=1))],
    )
)
NEW_BUDGET = admin_pb2.CreateBudgetRequest(
    budget=admin_pb2.Budget(
        name="monthly",
        scope=admin_pb2.BUDGET_SCOPE_GLOBAL,
        period=admin_pb2.BUDGET_PERIOD_MONTH,
        limit_usd=5,
        per_pod=True,
    )
)
MONTHLY = BudgetSpec(
    name="monthly",
    scope=BudgetScope.GLOBAL,
    limit_nano_usd=10**9,
    calendar=calendar(BudgetPeriod.MONTH, "UTC"),
    per_pod=True,
)
FEEDBACK = pb.Feedback(decision_id="d", attempt_id="a", quality=0.5)
TWO = Fleet(
    tuple(
        TargetSpec(target=Target(name, "m"), wire="openai", base_url="https://a.example", name=f"{name}/m")
        for name in "ab"
    )
)


def changing() -> Administration:
    """What changes the targets of TWO, as they are at the start."""
    state = FleetState(TWO, Settings(), now=0.0, rng=random.Random(1))
    return Administration(state, clock=lambda: 0.0, tell=lambda _: None, expire=lambda: None)


PROVIDER = registered_provider(changing().provider("a"))
RULES = get_routing(admin_pb2.GetRoutingRequest(), Settings(), TWO).routing
OTHER_RULES = admin_pb2.UpdateRoutingRequest(
    routing=admin_pb2.Routing(strategy=pb.STRATEGY_COST, weights=pb.Weights(cost=2), provider_order=["b"])
)
RESET = admin_pb2.ResetHealthRequest(
    scope=admin_pb2.HealthScope(endpoint=admin_pb2.EndpointName(provider="a", endpoint=""))
)
CHECK = admin_pb2.CheckHealthRequest(scope=RESET.scope)

# How each kind of message is read.


def read_execute(request: Any) -> None:
    faults = Faults()
    route_query(request, faults=faults, executing=True)
    chat_input(request.input, faults)
    faults.raise_any()


def read_route(request: Any) -> None:
    faults = Faults()
    route_query(request, faults=faults)
    faults.raise_any()


def read_report(request: Any) -> None:
    check_counts(request)


def read_outcome(message: Any) -> None:
    outcome(message, NOW_WALL)


def read_status(request: Any) -> None:
    status_query(request)


def read_watch(request: Any) -> None:
    status_query(request)
    resume_revision(request)


def read_list(request: Any) -> None:
    decision_filter(request, Fleet(()))
    page_size(request)


def read_comparison(request: Any) -> None:
    comparison_query(request, TWO)


def read_trend(request: Any) -> None:
    trend_query(request, TWO)


def read_budget_change(request: Any) -> None:
    wanted_budget(request)
    changed_budget(request, MONTHLY)


def read_new_provider(request: Any) -> None:
    provider_facts(new_provider(request))


def read_removal(request: Any) -> None:
    unwanted_provider(request)


def read_export(request: Any) -> None:
    """Its one field is a switch."""


def read_import(request: Any) -> None:
    imported(request, TWO, Settings(), 0.0, 1_800_000_000.0)


def read_spend(request: Any) -> None:
    spend_query(request, 1_800_000_000.0)


def read_new_budget(request: Any) -> None:
    new_budget(request)


def read_provider_change(request: Any) -> None:
    update_provider(request, changing(), TWO, by="")


def read_reset(request: Any) -> None:
    scope_places(request.scope, TWO)


def read_check(request: Any) -> None:
    wanted_checks(request, TWO)


def read_rules(request: Any) -> None:
    get_routing(request, Settings(), TWO)


def read_rules_change(request: Any) -> None:
    wanted_policy(request)
    routing_change(request, RULES, TWO)


class Place(NamedTuple):
    """Where a message stands in a good one, and what reads that one."""

    good: Message
    path: str
    read: Callable[[Any], object]


ROOTS: dict[str, Place] = {
    "RouteRequest": Place(pb.RouteRequest(), "", read_route),
    "ExecuteRequest": Place(EXECUTE, "", read_execute),
    "ExecuteStreamRequest": Place(pb.ExecuteStreamRequest(input=CHAT), "", read_execute),
    "ReportOutcomeRequest": Place(pb.ReportOutcomeRequest(), "", read_report),
    "ProviderStatusRequest": Place(pb.ProviderStatusRequest(), "", read_status),
    "WatchProviderStatusRequest": Place(pb.WatchProviderStatusRequest(), "", read_watch),
    "ListDecisionsRequest": Place(admin_pb2.ListDecisionsRequest(), "", read_list),
    "GetDecisionRequest": Place(admin_pb2.GetDecisionRequest(decision_id="d"), "", wanted_decision),
    "GetStatisticsRequest": Place(admin_pb2.GetStatisticsRequest(), "", statistics_query),
    "CompareTargetsRequest": Place(admin_pb2.CompareTargetsRequest(targets=["a/m", "b/m"]), "", read_comparison),
    "GetTrendRequest": Place(
        admin_pb2.GetTrendRequest(target="a/m", measure=admin_pb2.TREND_MEASURE_COST), "", read_trend
    ),
    "ClearHistoryRequest": Place(admin_pb2.ClearHistoryRequest(), "", clear_before),
    "ListBudgetsRequest": Place(admin_pb2.ListBudgetsRequest(), "", wanted_page),
    "UpdateBudgetRequest": Place(CHANGE, "", read_budget_change),
    "RegisterProviderRequest": Place(NEW_PROVIDER, "", read_new_provider),
    "RemoveProviderRequest": Place(admin_pb2.RemoveProviderRequest(provider="a"), "", read_removal),
    "ExportStateRequest": Place(admin_pb2.ExportStateRequest(), "", read_export),
    "ImportStateRequest": Place(admin_pb2.ImportStateRequest(state=document(())), "", read_import),
    "GetSpendRequest": Place(admin_pb2.GetSpendRequest(), "", read_spend),
    "CreateBudgetRequest": Place(NEW_BUDGET, "", read_new_budget),
    "DeleteBudgetRequest": Place(admin_pb2.DeleteBudgetRequest(name="b"), "", unwanted_budget),
    "UpdateProviderRequest": Place(admin_pb2.UpdateProviderRequest(provider=PROVIDER), "", read_provider_change),
    "ResetHealthRequest": Place(RESET, "", read_reset),
    "CheckHealthRequest": Place(CHECK, "", read_check),
    "GetRoutingRequest": Place(admin_pb2.GetRoutingRequest(), "", read_rules),
    "UpdateRoutingRequest": Place(OTHER_RULES, "", read_rules_change),
    "ListShadowDifferencesRequest": Place(admin_pb2.ListShadowDifferencesRequest(), "", shadows.wanted_page),
    "ListEventsRequest": Place(admin_pb2.ListEventsRequest(), "", event_feed.wanted_page),
    "WatchEventsRequest": Place(admin_pb2.WatchEventsRequest(), "", event_feed.wanted_watch),
}
INNER: dict[str, Place] = {
    "RequestProfile": Place(EXECUTE, "profile", read_execute),
    "RoutingOptions": Place(EXECUTE, "options", read_execute),
    "Weights": Place(EXECUTE, "options.weights", read_execute),
    "Caller": Place(EXECUTE, "caller", read_execute),
    "ChatInput": Place(EXECUTE, "input", read_execute),
    "Message": Place(EXECUTE, "input.messages[0]", read_execute),
    "Part": Place(EXECUTE, "input.messages[2].parts[1]", read_execute),
    "Image": Place(EXECUTE, "input.messages[1].parts[0].image", read_execute),
    "Audio": Place(EXECUTE, "input.messages[1].parts[1].audio", read_execute),
    "Document": Place(EXECUTE, "input.messages[1].parts[2].document", read_execute),
    "Reasoning": Place(EXECUTE, "input.messages[2].parts[0].reasoning", read_execute),
    "ToolCall": Place(EXECUTE, "input.messages[2].parts[1].tool_call", read_execute),
    "ToolResult": Place(EXECUTE, "input.messages[3].parts[0].tool_result", read_execute),
    "Tool": Place(EXECUTE, "input.tools[0]", read_execute),
    "ToolChoice": Place(EXECUTE, "input.tool_choice", read_execute),
    "ResponseFormat": Place(EXECUTE, "input.response_format", read_execute),
    "JsonSchema": Place(EXECUTE, "input.response_format.json_schema", read_execute),
    "JsonObject": Place(EXECUTE, "", read_execute),
    "Outcome": Place(OUTCOME, "", read_outcome),
    "Target": Place(OUTCOME, "target", read_outcome),
    "Usage": Place(OUTCOME, "usage", read_outcome),
    "RateLimitState": Place(OUTCOME, "rate_limit", read_outcome),
    "RateLimitBucket": Place(OUTCOME, "rate_limit.requests", read_outcome),
    "Feedback": Place(FEEDBACK, "", feedback),
    "Budget": Place(CHANGE, "budget", read_budget_change),
    "BudgetSpend": Place(CHANGE, "budget.spend[0]", read_budget_change),
    "RegisteredProvider": Place(admin_pb2.UpdateProviderRequest(provider=PROVIDER), "provider", read_provider_change),
    "RegisteredModel": Place(
        admin_pb2.UpdateProviderRequest(provider=PROVIDER), "provider.models[0]", read_provider_change
    ),
    "HealthScope": Place(RESET, "scope", read_reset),
    "EndpointName": Place(RESET, "scope.endpoint", read_reset),
    "AllTargets": Place(RESET, "", read_reset),
    "Routing": Place(OTHER_RULES, "routing", read_rules_change),
}
PLACES = ROOTS | INNER


class Bad(NamedTuple):
    """Values that must be refused; `at` is what the path says where that is not the field itself."""

    values: tuple[Any, ...]
    at: str | None = None


class Free(NamedTuple):
    """A field of which every value makes sense."""

    why: str


def text(longest: int) -> Bad:
    return Bad(("x" * (longest + 1), "é" * (longest + 1)))


def required(longest: int) -> Bad:
    return Bad(("", "x" * (longest + 1)))


SWITCH = Free("both values make sense")
TOLD = Free("told to whoever asks, and not read")
INSIDE = Free("its own fields are checked")
CONTENT = Free("content, passed on as it is, as long as a message can be")
ENUM = Bad((99, -1))
OTHER_MODEL = "provider.models"
TIMES = Bad((Timestamp(seconds=2**62), Timestamp(nanos=-1), Timestamp(seconds=-(2**62)), Timestamp(nanos=10**9)))
LENGTHS = Bad((Duration(seconds=-1), Duration(nanos=-1), Duration(seconds=2**62), Duration(seconds=1, nanos=10**9)))
LIMITS = Bad((Duration(), *LENGTHS.values))
SPANS = Bad((Duration(seconds=86_401), *LENGTHS.values))
COUNTS = Bad((-1, 2**63 - 1))
MANY_NAMES = Bad((["x"] * 257,))
NAMES = (MANY_NAMES, Bad((["x", ""],), "[1]"), Bad((["x" * 257],), "[0]"))
WEIGHT = Bad((-1.0, math.nan, math.inf))
MEDIA_TYPE = Bad(("png", "image/", "image/png\r\nx-a: b", "x" * 200 + "/y", "a b/c"))
URL = Bad(
    (
        "http://a.example/b",
        "https://",
        "https:///x",
        "https://user:secret@a.example/",
        "https://a.example/ b",
        "https://a.example/\r\n",
        "file:///etc/passwd",
        "https://a.example/" + "x" * 8192,
    )
)
SCHEMA = Bad(("[]", "{", "NaN", '{"a": NaN}', '"x"', "[" * 5000, '{"a": "' + "x" * 2**20 + '"}'))
NUMBER = Struct(fields={"top_k": Value(number_value=math.nan)})
SECRET = Struct(fields={"model": Value(string_value="other")})
INNER_LIMIT = Struct(
    fields={"generationConfig": Value(struct_value=Struct(fields={"maxOutputTokens": Value(number_value=9)}))}
)

ROWS: dict[str, Bad | Free | tuple[Bad, ...]] = {
    "RouteRequest.profile": INSIDE,
    "RouteRequest.options": INSIDE,
    "RouteRequest.caller": INSIDE,
    "RouteRequest.request_id": text(256),
    "RouteRequest.session_id": text(256),
    "ExecuteRequest.profile": INSIDE,
    "ExecuteRequest.options": INSIDE,
    "ExecuteRequest.caller": INSIDE,
    "ExecuteRequest.input": Bad((pb.ChatInput(),), "input.messages"),
    "ExecuteRequest.request_id": text(256),
    "ExecuteRequest.session_id": text(256),
    "ExecuteStreamRequest.profile": INSIDE,
    "ExecuteStreamRequest.options": INSIDE,
    "ExecuteStreamRequest.caller": INSIDE,
    "ExecuteStreamRequest.input": Bad((pb.ChatInput(),), "input.messages"),
    "ExecuteStreamRequest.request_id": text(256),
    "ExecuteStreamRequest.session_id": text(256),
    "ReportOutcomeRequest.outcomes": Bad(([OUTCOME] * 1001,)),
    "ReportOutcomeRequest.feedback": Bad(([FEEDBACK] * 1001,)),
    "ProviderStatusRequest.providers": NAMES,
    "ProviderStatusRequest.window": Bad((Duration(seconds=7), Duration(seconds=59, nanos=10**9), *LENGTHS.values)),
    "WatchProviderStatusRequest.providers": NAMES,
    "WatchProviderStatusRequest.window": Bad((Duration(seconds=7), *LENGTHS.values)),
    "WatchProviderStatusRequest.resume_revision": Bad((-1,)),
    "ListDecisionsRequest.page_size": Bad((-1, 1001)),
    "ListDecisionsRequest.page_token": text(256),
    "ListDecisionsRequest.target": text(256),
    "ListDecisionsRequest.task": text(64),
    "ListDecisionsRequest.tenant": text(128),
    "ListDecisionsRequest.result": ENUM,
    "ListDecisionsRequest.start_time": TIMES,
    "ListDecisionsRequest.end_time": TIMES,
    "GetDecisionRequest.decision_id": required(128),
    "ListShadowDifferencesRequest.page_size": Bad((-1, 1001)),
    "ListShadowDifferencesRequest.page_token": text(256),
    "ListShadowDifferencesRequest.policy": text(128),
    "GetStatisticsRequest.start_time": TIMES,
    "GetStatisticsRequest.end_time": TIMES,
    "GetStatisticsRequest.group_by": ENUM,
    "GetStatisticsRequest.tenant": text(128),
    "GetStatisticsRequest.task": text(64),
    "CompareTargetsRequest.targets": (
        Bad(([], ["a/m"], ["x"] * 101)),
        Bad((["a/m", "x" * 257], ["a/m", "a/m"]), "[1]"),
    ),
    "CompareTargetsRequest.task": text(64),
    "CompareTargetsRequest.start_time": TIMES,
    "CompareTargetsRequest.end_time": TIMES,
    "GetTrendRequest.target": required(256),
    "GetTrendRequest.measure": Bad((0, 99, -1)),
    "GetTrendRequest.window": Bad((Duration(), Duration(seconds=59), Duration(seconds=86_401), *LENGTHS.values)),
    "GetTrendRequest.step": Bad((Duration(seconds=59), Duration(seconds=90), Duration(seconds=7200), *LIMITS.values)),
    "ClearHistoryRequest.before": TIMES,
    "ListBudgetsRequest.page_size": Bad((-1, 1001)),
    "ListBudgetsRequest.page_token": Bad(("x" * 257, "YWJj", "no token", "YnVkZ2V0Ov8=")),
    "ListBudgetsRequest.scope": ENUM,
    "ListEventsRequest.page_size": Bad((-1, 1001)),
    "ListEventsRequest.page_token": Bad(("x", "-1", "1" * 20, "٣")),
    "ListEventsRequest.names": (MANY_NAMES, Bad((["suspect", "nonsense"],), "[1]")),
    "ListEventsRequest.target": text(256),
    "WatchEventsRequest.after_sequence": Bad((-1,)),
    "WatchEventsRequest.names": (MANY_NAMES, Bad((["suspect", ""],), "[1]")),
    "RegisterProviderRequest.provider": Bad((admin_pb2.RegisteredProvider(),), "provider.provider"),
    "RemoveProviderRequest.provider": required(128),
    "RemoveProviderRequest.etag": text(128),
    "ExportStateRequest.include_history": SWITCH,
    "ImportStateRequest.state": Bad((b"", b"\0", b"turnout-snapshot", b"turnout-journal 1\n", document(())[:-9])),
    "GetSpendRequest.start_time": TIMES,
    "GetSpendRequest.end_time": TIMES,
    "GetSpendRequest.step": Bad((Duration(seconds=61), *LIMITS.values)),
    "GetSpendRequest.group_by": ENUM,
    "GetSpendRequest.tenant": text(128),
    "CreateBudgetRequest.budget": Bad((admin_pb2.Budget(),), "budget.name"),
    "DeleteBudgetRequest.name": required(64),
    "DeleteBudgetRequest.etag": text(128),
    "UpdateBudgetRequest.budget": Bad((admin_pb2.Budget(limit_usd=5),), "budget.name"),
    "UpdateBudgetRequest.update_mask": Bad((FieldMask(), FieldMask(paths=["name"]), FieldMask(paths=["x" * 9999]))),
    "UpdateBudgetRequest.etag": text(128),
    "UpdateProviderRequest.provider": Bad((admin_pb2.RegisteredProvider(),), "provider.provider"),
    "UpdateProviderRequest.update_mask": Bad((FieldMask(), FieldMask(paths=["wire"]), FieldMask(paths=["x" * 9999]))),
    "UpdateProviderRequest.etag": text(128),
    "RegisteredProvider.provider": required(128),
    "RegisteredProvider.wire": Bad(("gemini",)),
    "RegisteredProvider.base_url": Bad(("https://b.example",)),
    "RegisteredProvider.credential": Bad(("other",)),
    "RegisteredProvider.models": Bad(([admin_pb2.RegisteredModel(name="other")],)),
    "RegisteredProvider.region": Bad(("eu",)),
    "RegisteredProvider.max_concurrency": Bad((3, -1)),
    "RegisteredProvider.drained": SWITCH,
    "RegisteredProvider.drained_targets": (
        Bad((["a/m"] * 4097,)),
        Bad((["a"], [""], ["b/m"], ["x" * 257]), "[0]"),
    ),
    **{f"RegisteredProvider.{field}": TOLD for field in ("registered", "etag")},
    "RegisteredModel.name": Bad(("other",), OTHER_MODEL),
    **{
        f"RegisteredModel.{field}": Bad((1, -1), OTHER_MODEL)
        for field in ("context_window_tokens", "max_output_tokens")
    },
    **{
        f"RegisteredModel.{field}_per_million_usd": Bad((1.0, math.nan), OTHER_MODEL)
        for field in ("input", "output", "cached_input", "cache_write")
    },
    "RegisteredModel.capabilities": Bad(([1], [99]), OTHER_MODEL),
    "RegisteredModel.custom_capabilities": Bad((["x"],), OTHER_MODEL),
    "RegisteredModel.quality": Bad((50.0, math.nan), OTHER_MODEL),
    "RegisteredModel.latency_prior": Bad((Duration(seconds=9), *LENGTHS.values), OTHER_MODEL),
    "RegisteredModel.silent_thinking": Bad((True,), OTHER_MODEL),
    "ResetHealthRequest.scope": Bad((admin_pb2.HealthScope(),)),
    "CheckHealthRequest.scope": Bad((admin_pb2.HealthScope(),)),
    "CheckHealthRequest.timeout": Bad((Duration(seconds=601), *LIMITS.values)),
    "HealthScope.target": (
        Bad((pb.Target(), pb.Target(model="m"), pb.Target(provider="x" * 257)), "scope.target.provider"),
        Bad((pb.Target(provider="a"), pb.Target(provider="a", model="x" * 257)), "scope.target.model"),
        Bad((pb.Target(provider="a", model="m", endpoint="x" * 257),), "scope.target.endpoint"),
    ),
    "HealthScope.endpoint": Bad((admin_pb2.EndpointName(),), "scope.endpoint.provider"),
    "HealthScope.provider": required(128),
    "HealthScope.all": INSIDE,
    "EndpointName.provider": required(128),
    "EndpointName.endpoint": text(128),
    "GetRoutingRequest.policy": text(128),
    "UpdateRoutingRequest.routing": INSIDE,
    "UpdateRoutingRequest.update_mask": Bad((FieldMask(), FieldMask(paths=["etag"]), FieldMask(paths=["x" * 9999]))),
    "UpdateRoutingRequest.etag": text(128),
    "Routing.policy": text(128),
    "Routing.strategy": ENUM,
    "Routing.weights": INSIDE,
    "Routing.failover_preset": ENUM,
    "Routing.default_policy": text(128),
    "Routing.provider_order": (Bad((["a"] * 257,)), Bad((["c"], ["x" * 9999]), "[0]"), Bad((["a", "a"],), "[1]")),
    "Routing.preferences": (
        Bad((["a/m"] * 257,)),
        Bad((["c/m"], ["x" * 9999], [""]), "[0]"),
        Bad((["a", "a"],), "[1]"),
    ),
    **{f"Routing.{field}": TOLD for field in ("etag", "policy_version")},
    "Budget.name": required(64),
    "Budget.scope": Bad((99, -1, admin_pb2.BUDGET_SCOPE_TENANT)),
    "Budget.period": Bad((99, -1, admin_pb2.BUDGET_PERIOD_DAY)),
    "Budget.limit_usd": Bad((-1.0, 1e-12, 1e10, math.nan, math.inf)),
    "Budget.on_exceed": ENUM,
    "Budget.alert_at": Bad(([0.0], [1.5], [math.nan], [0.5] * 101)),
    "Budget.timezone": Bad(("Mars/Olympus", "x" * 129, "../../etc/passwd")),
    "Budget.per_pod": SWITCH,
    "Budget.replicas": Bad((0, -1, 5)),
    **{f"Budget.{field}": TOLD for field in ("created", "etag", "spend", "spend_count")},
    **{f"BudgetSpend.{field.name}": TOLD for field in admin_pb2.BudgetSpend.DESCRIPTOR.fields},
    "RequestProfile.task": text(64),
    "RequestProfile.complexity": ENUM,
    "RequestProfile.input_tokens": COUNTS,
    "RequestProfile.max_output_tokens": Bad((0, *COUNTS.values)),
    "RequestProfile.capabilities": (Bad(([1] * 257,)), Bad(([99],), "[0]"), Bad(([1, 0],), "[1]")),
    "RequestProfile.custom_capabilities": NAMES,
    "RequestProfile.preferred_capabilities": NAMES,
    "RequestProfile.reasoning_effort": ENUM,
    "RequestProfile.text_hint": text(2**20),
    "RoutingOptions.policy": text(128),
    "RoutingOptions.strategy": ENUM,
    "RoutingOptions.weights": INSIDE,
    "RoutingOptions.priority": ENUM,
    "RoutingOptions.max_cost_usd": Bad((-0.1, math.nan, math.inf)),
    "RoutingOptions.max_latency": LIMITS,
    "RoutingOptions.max_time_to_first_token": LIMITS,
    "RoutingOptions.min_availability": Bad((-0.1, 1.1, math.nan)),
    "RoutingOptions.min_quality": Bad((-1.0, 100.1, math.nan)),
    "RoutingOptions.include": NAMES,
    "RoutingOptions.exclude": NAMES,
    "RoutingOptions.regions": NAMES,
    "RoutingOptions.sticky_key": text(256),
    "RoutingOptions.force_target": text(256),
    "RoutingOptions.max_candidates": Bad((0, -1)),
    "RoutingOptions.allow_fallback": SWITCH,
    "RoutingOptions.mid_stream": ENUM,
    "RoutingOptions.hedge": SWITCH,
    "RoutingOptions.detail": ENUM,
    "Weights.cost": WEIGHT,
    "Weights.latency": WEIGHT,
    "Weights.availability": WEIGHT,
    "Weights.quality": WEIGHT,
    "Weights.priority": WEIGHT,
    "Weights.capability": WEIGHT,
    "Caller.tenant": text(128),
    "Caller.user": text(128),
    "Caller.tier": text(64),
    "Caller.labels": (
        Bad(({str(i): "x" for i in range(17)}, {"k" * 129: "x"})),
        Bad(({"k": "x" * 129},), "caller.labels.k"),
    ),
    "ChatInput.messages": Bad(
        ([], [TEXT_TURN] * 10_001, [pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text="x")] * 20_001)])
    ),
    "ChatInput.tools": (Bad(([pb.Tool(name="t")] * 1025,)), Bad(([pb.Tool(name="t")] * 2,), "[1].name")),
    "ChatInput.tool_choice": INSIDE,
    "ChatInput.parallel_tool_calls": SWITCH,
    "ChatInput.response_format": INSIDE,
    "ChatInput.temperature": Bad((-0.1, 2.1, math.nan)),
    "ChatInput.top_p": Bad((0.0, 1.1, math.nan)),
    "ChatInput.max_output_tokens": Bad((0, -1)),
    "ChatInput.stop": (Bad((["x"] * 17,)), Bad(([""],), "[0]"), Bad((["x" * 1025],), "[0]")),
    "ChatInput.seed": Free("any number is a seed"),
    "ChatInput.reasoning_effort": ENUM,
    "ChatInput.provider_options": (
        Bad(({str(i): Struct() for i in range(65)}, {"x" * 129: Struct()})),
        Bad(({"openai": NUMBER},), "[openai]"),
        Bad(({"openai": SECRET},), "[openai].model"),
        Bad(({"google": INNER_LIMIT},), "[google].generationConfig.maxOutputTokens"),
    ),
    "Message.role": Bad((0, 99)),
    "Message.parts": (Bad(([], [pb.Part(text="")], [pb.Part(text=""), pb.Part(text="")])), Bad(([pb.Part()],), "[0]")),
    "Part.text": Free("may be empty beside other parts; a turn of nothing else is refused with its parts"),
    "Part.image": INSIDE,
    "Part.audio": INSIDE,
    "Part.document": INSIDE,
    "Part.tool_call": INSIDE,
    "Part.tool_result": Bad((pb.ToolResult(tool_call_id="c"),)),
    "Part.reasoning": INSIDE,
    "Part.signature": Free("a provider's own state, passed back as it is"),
    "Part.origin_provider": text(128),
    "Part.cache_breakpoint": SWITCH,
    **{
        f"{kind}.{field}": row
        for kind in ("Image", "Audio", "Document")
        for field, row in (("data", Bad((b"",))), ("url", URL), ("media_type", MEDIA_TYPE))
    },
    "ToolCall.id": required(1024),
    "ToolCall.name": required(128),
    "ToolCall.arguments_json": Free("passed on as a model wrote it, well or not"),
    "ToolResult.tool_call_id": required(1024),
    "ToolResult.name": text(128),
    "ToolResult.content": Bad(([pb.Part()], [pb.Part(tool_call=pb.ToolCall(id="c", name="t"))]), "[0]"),
    "ToolResult.is_error": SWITCH,
    "Reasoning.text": CONTENT,
    "Reasoning.redacted_data": Free("a provider's own state, passed back as it is"),
    "Tool.name": required(64),
    "Tool.description": CONTENT,
    "Tool.parameters_json_schema": SCHEMA,
    "ToolChoice.mode": ENUM,
    "ToolChoice.name": Bad(("", "other", "x" * 65)),
    "ResponseFormat.json_object": INSIDE,
    "ResponseFormat.json_schema": INSIDE,
    "JsonSchema.name": text(64),
    "JsonSchema.schema_json": Bad(("", *SCHEMA.values)),
    "JsonSchema.strict": SWITCH,
    "Outcome.decision_id": text(128),
    "Outcome.attempt_id": required(128),
    "Outcome.target": Bad((pb.Target(), pb.Target(provider="p"), pb.Target(model="m"))),
    "Outcome.probe_id": text(128),
    "Outcome.ok": Bad((False,), "failure"),
    "Outcome.failure": Bad((99, pb.FAILURE_KIND_TIMEOUT)),
    "Outcome.http_status": Bad((0, 99, 600, -1)),
    "Outcome.start_time": TIMES,
    "Outcome.latency": SPANS,
    "Outcome.time_to_first_token": SPANS,
    "Outcome.streamed": SWITCH,
    "Outcome.usage": INSIDE,
    "Outcome.cost_usd": Bad((-1.0, math.nan, math.inf, 1e7)),
    "Outcome.retry_after": Bad((Duration(seconds=3601), *LENGTHS.values)),
    "Outcome.rate_limit": INSIDE,
    "Outcome.credential": text(128),
    "Outcome.task": text(64),
    "Outcome.caller": INSIDE,
    "Outcome.session_id": text(256),
    "Target.provider": (Bad(("x" * 257,)), Bad(("",), "target")),
    "Target.model": (Bad(("x" * 257,)), Bad(("",), "target")),
    "Target.endpoint": text(256),
    "Usage.input_tokens": COUNTS,
    "Usage.output_tokens": COUNTS,
    "Usage.cached_input_tokens": (COUNTS, Bad((11,), "usage.input_tokens")),
    "Usage.cache_write_tokens": (COUNTS, Bad((11,), "usage.input_tokens")),
    "Usage.cache_write_1h_tokens": COUNTS,
    "Usage.reasoning_tokens": (COUNTS, Bad((6,), "usage.output_tokens")),
    "Usage.source": ENUM,
    "RateLimitState.requests": INSIDE,
    "RateLimitState.tokens": INSIDE,
    "RateLimitBucket.limit": COUNTS,
    "RateLimitBucket.remaining": COUNTS,
    "RateLimitBucket.reset_time": TIMES,
    "Feedback.decision_id": required(128),
    "Feedback.attempt_id": text(128),
    "Feedback.quality": Bad((-0.1, 1.1, math.nan)),
}


def reachable(descriptor: Descriptor, known: dict[str, Descriptor]) -> None:
    """Adds a message and all that can stand in it; those of protobuf itself are values here."""
    if descriptor.name in known or not descriptor.full_name.startswith("turnout."):
        return
    known[descriptor.name] = descriptor
    for field in descriptor.fields:
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            entry = entry.fields_by_name["value"].message_type
        if entry is not None:
            reachable(entry, known)


def incoming() -> dict[str, Descriptor]:
    """Every message that a method answered in this version can be sent."""
    known: dict[str, Descriptor] = {}
    methods = list(router_pb2.DESCRIPTOR.services_by_name["RouterService"].methods)
    admin = admin_pb2.DESCRIPTOR.services_by_name["AdminService"]
    methods += [method for method in admin.methods if method.name in AdminService.answered]
    for method in methods:
        reachable(method.input_type, known)
    return known


def test_every_field_that_can_come_in_has_a_row() -> None:
    fields = {f"{name}.{field.name}" for name, descriptor in incoming().items() for field in descriptor.fields}

    assert fields == set(ROWS)


def test_every_message_that_can_come_in_has_a_place() -> None:
    assert set(incoming()) == set(PLACES)


@pytest.mark.parametrize("place", PLACES.values(), ids=list(PLACES))
def test_good_request_is_read_without_a_fault(place: Place) -> None:
    place.read(place.good)


STEP = re.compile(r"(\w+)(?:\[(\d+)\])?")


def at(message: Any, path: str) -> Any:
    for step in filter(None, path.split(".")):
        matched = STEP.fullmatch(step)
        assert matched is not None
        message = getattr(message, matched[1])
        if matched[2] is not None:
            message = message[int(matched[2])]
    return message


def put(message: Any, field: FieldDescriptor, value: Any) -> None:
    message.ClearField(field.name)
    if isinstance(value, dict):
        entries = getattr(message, field.name)
        for key, inner in value.items():
            if isinstance(inner, Message):
                entries[key].CopyFrom(inner)
            else:
                entries[key] = inner
    elif isinstance(value, list):
        getattr(message, field.name).extend(value)
    elif isinstance(value, Message):
        getattr(message, field.name).CopyFrom(value)
    else:
        setattr(message, field.name, value)


def cases() -> list[Any]:
    made = []
    for name, row in ROWS.items():
        if isinstance(row, Free):
            continue
        bads = (row,) if isinstance(row, Bad) else row
        values = [(bad, value) for bad in bads for value in bad.values]
        made += [pytest.param(name, *each, id=f"{name}-{number}") for number, each in enumerate(values)]
    return made


@pytest.mark.parametrize(("name", "bad", "value"), cases())
def test_bad_value_is_refused_by_the_path_of_its_field(name: str, bad: Bad, value: Any) -> None:
    kind, _, field_name = name.partition(".")
    place = PLACES[kind]
    request: Any = type(place.good)()
    request.CopyFrom(place.good)
    message = at(request, place.path)
    field = message.DESCRIPTOR.fields_by_name[field_name]
    put(message, field, value)
    own = f"{place.path}.{field_name}" if place.path else field_name
    expected = own if bad.at is None else own + bad.at if bad.at.startswith("[") else bad.at
    with pytest.raises(InvalidRequestError) as caught:
        place.read(request)

    assert expected in {violation.field for violation in caught.value.violations}
    assert len(str(caught.value)) < 2000
