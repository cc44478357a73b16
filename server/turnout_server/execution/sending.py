"""What a provider is sent: the caller's request, one of our credentials, and the output limit that the wire needs."""

from __future__ import annotations

from turnout_server.core.chat import ChatInput, Message, Part, Role, Text
from turnout_server.core.fleet import TargetSpec
from turnout_server.core.permits import Permit
from turnout_server.ports import UpstreamCall

WIRES_WITH_REQUIRED_LIMIT = frozenset({"anthropic"})
"""The wires whose requests must state how long the answer may be."""
PROVIDERS_WITH_WANTED_LIMIT = frozenset({"cerebras"})
"""Providers that take out of the rate limit beforehand what an answer may become: without a limit, the model's most."""
UNKNOWN_LIMIT = 4096
"""Stated where the catalog does not know the model's own maximum; every chat model of today can do it."""

PROBE_INPUT = ChatInput(
    messages=(Message(role=Role.USER, parts=(Part(content=Text(text="ping")),)),), max_output_tokens=1
)
"""The shortest request that a model can answer."""


def upstream_call(
    permit: Permit,
    chat: ChatInput,
    input_tokens: int | None,
    trace_headers: tuple[tuple[str, str], ...] = (),
) -> UpstreamCall:
    """Returns the call to make; `input_tokens` is the estimate of the prompt."""
    return UpstreamCall(
        spec=permit.spec,
        credential=permit.credential,
        chat=chat,
        max_output_tokens=_lower(
            output_limit(permit.spec, chat.max_output_tokens, input_tokens), permit.max_output_tokens
        ),
        trace_headers=trace_headers,
    )


def _lower(wanted: int | None, paid_for: int | None) -> int | None:
    if wanted is None or paid_for is None:
        return paid_for if wanted is None else wanted
    return min(wanted, paid_for)


def output_limit(spec: TargetSpec, asked: int | None, input_tokens: int | None) -> int | None:
    """Returns the output limit to send, None for none: the caller's, never above what the model can do.

    Where the wire requires one and the caller gave none: the model's maximum, lowered to what its window leaves.
    """
    if asked is not None:
        return asked if spec.max_output_tokens is None else min(asked, spec.max_output_tokens)
    if spec.wire not in WIRES_WITH_REQUIRED_LIMIT and spec.target.provider not in PROVIDERS_WITH_WANTED_LIMIT:
        return None
    most = spec.max_output_tokens or UNKNOWN_LIMIT
    if spec.context_window_tokens is None or input_tokens is None:
        return most
    return max(1, min(most, spec.context_window_tokens - input_tokens))
