"""What is handy to write in Python becomes the contract's requests, and the caller's protobufs stay as they are."""

from __future__ import annotations

import pytest

from turnout import message
from turnout.requests import chat_input, execute_request, route_request
from turnout.v1 import router_pb2 as pb


def test_a_string_is_one_user_turn() -> None:
    expected = pb.ChatInput(messages=[pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text="Hi")])])

    assert expected == chat_input("Hi", {})


def test_pairs_and_messages_may_be_mixed() -> None:
    image = pb.Part(image=pb.Image(data=b"png", media_type="image/png"))
    own = pb.Message(role=pb.ROLE_ASSISTANT, parts=[pb.Part(text="Well")])

    chat = chat_input([("user", ["Look", image]), own, ("user", "And now?")], {"system": "Be short"})

    assert [turn.role for turn in chat.messages] == [pb.ROLE_SYSTEM, pb.ROLE_USER, pb.ROLE_ASSISTANT, pb.ROLE_USER]
    assert list(chat.messages[1].parts) == [pb.Part(text="Look"), image]
    assert chat.messages[2] == own


def test_an_unknown_role_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="system, user, assistant, tool"):
        message("robot", "Hi")


def test_settings_are_laid_over_a_copy_of_the_callers_input() -> None:
    given = pb.ChatInput(temperature=1, stop=["END"])

    chat = chat_input(given, {"temperature": 0, "max_output_tokens": 5, "tools": [pb.Tool(name="add")]})

    assert (chat.temperature, chat.max_output_tokens, list(chat.stop)) == (0, 5, ["END"])
    assert [tool.name for tool in chat.tools] == ["add"]
    assert given == pb.ChatInput(temperature=1, stop=["END"])


def test_what_is_not_given_stays_unknown() -> None:
    request = execute_request(pb.ExecuteRequest, "Hi", {})

    assert not request.HasField("profile")
    assert not request.HasField("options")
    assert not request.HasField("caller")
    assert not request.input.HasField("max_output_tokens")
    assert not request.input.HasField("temperature")


def test_task_joins_the_callers_profile_without_changing_it() -> None:
    profile = pb.RequestProfile(complexity=pb.COMPLEXITY_COMPLEX)

    request = route_request({"task": "chat", "profile": profile, "input_tokens": 0, "max_output_tokens": 9})

    assert request.profile == pb.RequestProfile(
        task="chat", complexity=pb.COMPLEXITY_COMPLEX, input_tokens=0, max_output_tokens=9
    )
    assert request.profile.HasField("input_tokens")
    assert profile == pb.RequestProfile(complexity=pb.COMPLEXITY_COMPLEX)


def test_route_and_execute_carry_the_callers_settings() -> None:
    options, caller = pb.RoutingOptions(policy="p"), pb.Caller(tenant="t")

    route = route_request({"options": options, "caller": caller, "request_id": "r", "session_id": "s"})
    stream = execute_request(
        pb.ExecuteStreamRequest,
        "Hi",
        {"options": options, "caller": caller, "request_id": "r", "session_id": "s"},
    )

    for request in (route, stream):
        assert (request.options, request.caller, request.request_id, request.session_id) == (options, caller, "r", "s")
