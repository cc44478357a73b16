"""What callers send, read with a field path for every fault."""

import math

import pytest
from google.protobuf import struct_pb2
from google.protobuf.duration_pb2 import Duration

from turnout.v1 import router_pb2 as pb
from turnout_server.api.chat_requests import chat_input
from turnout_server.api.faults import Faults
from turnout_server.api.requests import route_query
from turnout_server.core.chat import JsonFormat, Media, MediaKind, Text, ToolChoiceMode
from turnout_server.core.errors import InvalidRequestError
from turnout_server.core.model import (
    Caller,
    Capability,
    Complexity,
    DecisionDetail,
    MidStreamPolicy,
    Priority,
    ReasoningEffort,
    RequestProfile,
    RouteQuery,
    RoutingOptions,
    Strategy,
    Weights,
)


def read(request: pb.RouteRequest) -> RouteQuery:
    faults = Faults()
    query = route_query(request, faults=faults)
    faults.raise_any()
    return query


def faulty_fields(request: pb.RouteRequest) -> list[str]:
    with pytest.raises(InvalidRequestError) as caught:
        read(request)
    return [violation.field for violation in caught.value.violations]


def chat_faults(message: pb.ChatInput) -> list[str]:
    faults = Faults()
    chat_input(message, faults)
    return [violation.field for violation in faults.violations]


def turn(*parts: pb.Part, role: pb.Role.ValueType = pb.ROLE_USER) -> pb.Message:
    return pb.Message(role=role, parts=parts or [pb.Part(text="hello")])


def test_an_empty_request_is_a_query_with_defaults() -> None:
    assert RouteQuery() == read(pb.RouteRequest())


def test_everything_that_is_given_arrives() -> None:
    request = pb.RouteRequest(
        profile=pb.RequestProfile(
            task="chat",
            complexity=pb.COMPLEXITY_COMPLEX,
            input_tokens=0,
            max_output_tokens=100,
            capabilities=[pb.CAPABILITY_TOOLS],
            custom_capabilities=["legal"],
            preferred_capabilities=["latin", "latin", "greek"],
            reasoning_effort=pb.REASONING_EFFORT_NONE,
            text_hint="hä",
        ),
        options=pb.RoutingOptions(
            policy="default",
            strategy=pb.STRATEGY_COST,
            weights=pb.Weights(cost=1, latency=0, capability=2),
            priority=pb.PRIORITY_HIGH,
            max_cost_usd=0.5,
            max_latency=Duration(seconds=3),
            max_time_to_first_token=Duration(nanos=500_000_000),
            min_availability=0.9,
            min_quality=80,
            include=["openai"],
            exclude=["openai/gpt-4o"],
            regions=["eu"],
            sticky_key="k",
            force_target="openai/gpt-4o-mini",
            max_candidates=2,
            allow_fallback=False,
            mid_stream=pb.MID_STREAM_POLICY_RESTART,
            hedge=True,
            detail=pb.DECISION_DETAIL_FULL,
        ),
        caller=pb.Caller(tenant="t", user="u", tier="pro", labels={"a": "b"}),
        request_id="r-1",
    )

    expected = RouteQuery(
        profile=RequestProfile(
            task="chat",
            complexity=Complexity.COMPLEX,
            input_tokens=0,
            max_output_tokens=100,
            capabilities=frozenset({Capability.TOOLS}),
            custom_capabilities=frozenset({"legal"}),
            preferred_capabilities=frozenset({"latin", "greek"}),
            reasoning_effort=ReasoningEffort.NONE,
            text_hint="hä",
        ),
        options=RoutingOptions(
            policy="default",
            strategy=Strategy.COST,
            weights=Weights(cost=1, latency=0, capability=2),
            priority=Priority.HIGH,
            max_cost_usd=0.5,
            max_latency_seconds=3.0,
            max_time_to_first_token_seconds=0.5,
            min_availability=0.9,
            min_quality=80,
            include=("openai",),
            exclude=("openai/gpt-4o",),
            regions=("eu",),
            sticky_key="k",
            force_target="openai/gpt-4o-mini",
            max_candidates=2,
            allow_fallback=False,
            mid_stream=MidStreamPolicy.RESTART,
            hedge=True,
            detail=DecisionDetail.FULL,
        ),
        caller=Caller(tenant="t", user="u", tier="pro", labels={"a": "b"}),
        request_id="r-1",
    )

    assert expected == read(request)


def test_bytes_of_the_hint_stand_in_for_a_missing_token_count() -> None:
    query = read(pb.RouteRequest(profile=pb.RequestProfile(text_hint="hä")))

    assert query.profile.input_bytes == 3


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.RouteRequest(options=pb.RoutingOptions(min_quality=120)), "options.min_quality"),
        (pb.RouteRequest(options=pb.RoutingOptions(min_availability=1.1)), "options.min_availability"),
        (pb.RouteRequest(options=pb.RoutingOptions(max_cost_usd=-1)), "options.max_cost_usd"),
        (pb.RouteRequest(options=pb.RoutingOptions(weights=pb.Weights(quality=math.nan))), "options.weights.quality"),
        (pb.RouteRequest(options=pb.RoutingOptions(max_latency=Duration())), "options.max_latency"),
        (pb.RouteRequest(options=pb.RoutingOptions(max_candidates=0)), "options.max_candidates"),
        (pb.RouteRequest(options=pb.RoutingOptions(strategy=99)), "options.strategy"),  # type: ignore[arg-type]  # the point
        (pb.RouteRequest(options=pb.RoutingOptions(include=["a", ""])), "options.include[1]"),
        (pb.RouteRequest(options=pb.RoutingOptions(weights=pb.Weights(cost=-1))), "options.weights.cost"),
        (
            pb.RouteRequest(
                options=pb.RoutingOptions(weights=pb.Weights(cost=0, latency=0, availability=0, quality=0, priority=0))
            ),
            "options.weights",
        ),
        (pb.RouteRequest(profile=pb.RequestProfile(input_tokens=-1)), "profile.input_tokens"),
        (pb.RouteRequest(profile=pb.RequestProfile(max_output_tokens=0)), "profile.max_output_tokens"),
        (
            pb.RouteRequest(profile=pb.RequestProfile(capabilities=[pb.CAPABILITY_UNSPECIFIED])),
            "profile.capabilities[0]",
        ),
        (pb.RouteRequest(profile=pb.RequestProfile(task="x" * 65)), "profile.task"),
        (pb.RouteRequest(profile=pb.RequestProfile(text_hint="x" * (1024 * 1024 + 1))), "profile.text_hint"),
        (pb.RouteRequest(caller=pb.Caller(labels={str(i): "" for i in range(17)})), "caller.labels"),
        (pb.RouteRequest(request_id="x" * 257), "request_id"),
        (pb.RouteRequest(session_id="s" * 257), "session_id"),
    ],
)
def test_a_fault_is_named_by_its_field(request_: pb.RouteRequest, field: str) -> None:
    assert [field] == faulty_fields(request_)


def test_all_faults_are_told_together() -> None:
    request = pb.RouteRequest(
        options=pb.RoutingOptions(min_quality=120, max_candidates=0), profile=pb.RequestProfile(input_tokens=-1)
    )

    assert set(faulty_fields(request)) == {"options.min_quality", "options.max_candidates", "profile.input_tokens"}


def test_a_chat_request_arrives_part_by_part() -> None:
    message = pb.ChatInput(
        messages=[
            turn(
                pb.Part(text="look", cache_breakpoint=True), pb.Part(image=pb.Image(data=b"x", media_type="image/png"))
            )
        ],
        tools=[pb.Tool(name="weather", parameters_json_schema="{}")],
        tool_choice=pb.ToolChoice(mode=pb.TOOL_CHOICE_MODE_NAMED, name="weather"),
        response_format=pb.ResponseFormat(json_schema=pb.JsonSchema(schema_json="{}")),
        temperature=0,
    )
    faults = Faults()
    chat = chat_input(message, faults)

    assert faults.violations == []
    assert [part.content for part in chat.messages[0].parts] == [
        Text(text="look"),
        Media(kind=MediaKind.IMAGE, media_type="image/png", data=b"x"),
    ]
    assert chat.tool_choice is not None
    assert chat.tool_choice.mode is ToolChoiceMode.NAMED
    assert chat.response_format == JsonFormat(name="answer", schema_json="{}", strict=True)
    assert chat.temperature == 0.0
    assert chat.top_p is None


def test_whole_doubles_of_provider_options_become_integers() -> None:
    options = struct_pb2.Struct()
    options.update({"top_k": 5, "penalty": 0.5, "nested": {"n": [1, 2.5, True, None, "x"]}})
    chat = chat_input(pb.ChatInput(messages=[turn()], provider_options={"openai": options}), Faults())

    assert chat.provider_options == {"openai": {"top_k": 5, "penalty": 0.5, "nested": {"n": [1, 2.5, True, None, "x"]}}}
    assert isinstance(chat.provider_options["openai"]["top_k"], int)


def options_with(name: str) -> struct_pb2.Struct:
    options = struct_pb2.Struct()
    options.update({name: "x"})
    return options


@pytest.mark.parametrize("name", ["model", "stream", "messages", "max_tokens", "max_completion_tokens"])
def test_provider_options_never_decide_what_the_sidecar_decides(name: str) -> None:
    message = pb.ChatInput(messages=[turn()], provider_options={"openai": options_with(name)})

    assert chat_faults(message) == [f"input.provider_options[openai].{name}"]


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (pb.ChatInput(), "input.messages"),
        (pb.ChatInput(messages=[pb.Message(role=pb.ROLE_USER)]), "input.messages[0].parts"),
        (pb.ChatInput(messages=[turn(role=pb.ROLE_UNSPECIFIED)]), "input.messages[0].role"),
        (pb.ChatInput(messages=[turn(pb.Part())]), "input.messages[0].parts[0]"),
        (
            pb.ChatInput(messages=[turn(pb.Part(image=pb.Image(url="http://x/y.png")))]),
            "input.messages[0].parts[0].image.url",
        ),
        (
            pb.ChatInput(messages=[turn(pb.Part(audio=pb.Audio(data=b"x")))]),
            "input.messages[0].parts[0].audio.media_type",
        ),
        (pb.ChatInput(messages=[turn(pb.Part(document=pb.Document()))]), "input.messages[0].parts[0].document"),
        (
            pb.ChatInput(messages=[turn(pb.Part(tool_call=pb.ToolCall(id="1", name="f")))]),
            "input.messages[0].parts[0].tool_call",
        ),
        (
            pb.ChatInput(messages=[turn(pb.Part(tool_result=pb.ToolResult(content=[pb.Part(text="x")])))]),
            "input.messages[0].parts[0].tool_result.tool_call_id",
        ),
        (
            pb.ChatInput(
                messages=[
                    turn(
                        pb.Part(
                            tool_result=pb.ToolResult(
                                tool_call_id="1", content=[pb.Part(tool_result=pb.ToolResult(tool_call_id="2"))]
                            )
                        )
                    )
                ]
            ),
            "input.messages[0].parts[0].tool_result.content[0]",
        ),
        (pb.ChatInput(messages=[turn()], temperature=3), "input.temperature"),
        (pb.ChatInput(messages=[turn()], max_output_tokens=0), "input.max_output_tokens"),
        (pb.ChatInput(messages=[turn()], stop=[""]), "input.stop[0]"),
        (pb.ChatInput(messages=[turn()], tools=[pb.Tool(name="f"), pb.Tool(name="f")]), "input.tools[1].name"),
        (
            pb.ChatInput(messages=[turn()], tools=[pb.Tool(name="f", parameters_json_schema="[")]),
            "input.tools[0].parameters_json_schema",
        ),
        (
            pb.ChatInput(messages=[turn()], tool_choice=pb.ToolChoice(mode=pb.TOOL_CHOICE_MODE_NAMED, name="g")),
            "input.tool_choice.name",
        ),
        (
            pb.ChatInput(
                messages=[turn()],
                response_format=pb.ResponseFormat(json_schema=pb.JsonSchema(schema_json="[]")),
            ),
            "input.response_format.json_schema.schema_json",
        ),
    ],
)
def test_a_faulty_chat_request_is_refused_by_field(message: pb.ChatInput, field: str) -> None:
    assert field in chat_faults(message)
