"""Builds the contract's requests from what is handy in Python: strings, (role, content) pairs, keyword settings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypedDict, TypeVar

from turnout.v1 import router_pb2 as pb

Content = str | pb.Part | Sequence[str | pb.Part]
"""What one message says: text, a part, or several of both."""

Input = str | pb.ChatInput | Sequence[pb.Message | tuple[str, Content]]
"""A chat request: one user prompt, a whole ChatInput, or messages, each a Message or a (role, content) pair.

Roles are "system", "user", "assistant" and "tool".
"""

ROLES = {
    "system": pb.ROLE_SYSTEM,
    "user": pb.ROLE_USER,
    "assistant": pb.ROLE_ASSISTANT,
    "tool": pb.ROLE_TOOL,
}


class Settings(TypedDict, total=False):
    """What may be said with any request; what is left out is as the contract says of absent fields.

    `task` is the kind of work, a shorthand for `profile.task`. `timeout_seconds` bounds the call with its retries.
    """

    task: str
    profile: pb.RequestProfile
    options: pb.RoutingOptions
    caller: pb.Caller
    request_id: str
    session_id: str
    timeout_seconds: float


class RouteSettings(Settings, total=False):
    """Settings of Route and plan: tokens are shorthands for the profile's fields of these names."""

    input_tokens: int
    max_output_tokens: int


class ExecuteSettings(Settings, total=False):
    """Settings of Execute and ExecuteStream: shorthands for ChatInput's fields; `system` is put before the messages."""

    system: str
    max_output_tokens: int
    temperature: float
    tools: Iterable[pb.Tool]


Execute = TypeVar("Execute", pb.ExecuteRequest, pb.ExecuteStreamRequest)


def route_request(settings: RouteSettings) -> pb.RouteRequest:
    """Returns the request of Route. The given protobufs are copied, never changed."""
    request = pb.RouteRequest(
        profile=_profile(settings),
        options=settings.get("options"),
        caller=settings.get("caller"),
        request_id=settings.get("request_id", ""),
        session_id=settings.get("session_id", ""),
    )
    if "input_tokens" in settings:
        request.profile.input_tokens = settings["input_tokens"]
    if "max_output_tokens" in settings:
        request.profile.max_output_tokens = settings["max_output_tokens"]
    return request


def execute_request(kind: type[Execute], chat: Input, settings: ExecuteSettings) -> Execute:
    """Returns the request of Execute or ExecuteStream. The given protobufs are copied, never changed."""
    return kind(
        profile=_profile(settings),
        options=settings.get("options"),
        caller=settings.get("caller"),
        input=chat_input(chat, settings),
        request_id=settings.get("request_id", ""),
        session_id=settings.get("session_id", ""),
    )


def status_request(providers: Sequence[str], window_seconds: float | None) -> pb.ProviderStatusRequest:
    """Returns the request of ProviderStatus; no window means the contract's default of 5 minutes."""
    request = pb.ProviderStatusRequest(providers=providers)
    if window_seconds is not None:
        request.window.FromMicroseconds(round(window_seconds * 1e6))
    return request


def watch_request(
    providers: Sequence[str], window_seconds: float | None, resume_revision: int | None
) -> pb.WatchProviderStatusRequest:
    """Returns the request of WatchProviderStatus; no revision asks for everything first."""
    request = pb.WatchProviderStatusRequest(providers=providers, resume_revision=resume_revision)
    if window_seconds is not None:
        request.window.FromMicroseconds(round(window_seconds * 1e6))
    return request


def chat_input(chat: Input, settings: ExecuteSettings) -> pb.ChatInput:
    """Returns the chat request with the settings laid over it. Raises ValueError for an unknown role."""
    result = pb.ChatInput()
    if "system" in settings:
        result.messages.append(message("system", settings["system"]))
    if isinstance(chat, pb.ChatInput):
        result.MergeFrom(chat)
    elif isinstance(chat, str):
        result.messages.append(message("user", chat))
    else:
        result.messages.extend(turn if isinstance(turn, pb.Message) else message(*turn) for turn in chat)
    if "max_output_tokens" in settings:
        result.max_output_tokens = settings["max_output_tokens"]
    if "temperature" in settings:
        result.temperature = settings["temperature"]
    result.tools.extend(settings.get("tools", ()))
    return result


def message(role: str, content: Content) -> pb.Message:
    """Returns one turn. Raises ValueError for an unknown role."""
    if role not in ROLES:
        msg = f"{role!r} is not a role of a message: give one of {', '.join(ROLES)}"
        raise ValueError(msg)
    pieces = [content] if isinstance(content, str | pb.Part) else content
    parts = [pb.Part(text=piece) if isinstance(piece, str) else piece for piece in pieces]
    return pb.Message(role=ROLES[role], parts=parts)


def _profile(settings: Settings) -> pb.RequestProfile | None:
    profile = settings.get("profile")
    if "task" not in settings:
        return profile
    result = pb.RequestProfile()
    if profile is not None:
        result.CopyFrom(profile)
    result.task = settings["task"]
    return result
