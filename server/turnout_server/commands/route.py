"""`turnout route`: a decision, and why; no provider is called."""

from __future__ import annotations

from typing import Unpack

import click

from turnout.requests import RouteSettings
from turnout_server.commands.numbers import MAX_TOKENS
from turnout_server.commands.printing import print_decision, print_json
from turnout_server.commands.request_options import Request, caller_of, options_of, profile_of, request_options
from turnout_server.commands.sidecar import CALL_SECONDS, EPILOG, calling, sidecar_options


@click.command("route", epilog=EPILOG)
@click.option("--input-tokens", type=click.IntRange(0, MAX_TOKENS), help="Absent: estimated from --text.")
@click.option("--max-output-tokens", type=click.IntRange(1, MAX_TOKENS), help="The longest answer wanted.")
@click.option("--text", default="", help="The prompt or part of it, for estimates only; it goes to no provider.")
@request_options
@sidecar_options
def route(
    *,
    address: str | None,
    timeout_seconds: float | None,
    as_json: bool,
    input_tokens: int | None,
    max_output_tokens: int | None,
    text: str,
    **request: Unpack[Request],
) -> None:
    """Ask for a decision: the ranked targets, the rejected ones, and the reasons."""
    profile = profile_of(request)
    profile.text_hint = text
    settings = RouteSettings(
        profile=profile,
        options=options_of(request),
        caller=caller_of(request),
        timeout_seconds=timeout_seconds or CALL_SECONDS,
    )
    if input_tokens is not None:
        settings["input_tokens"] = input_tokens
    if max_output_tokens is not None:
        settings["max_output_tokens"] = max_output_tokens
    with calling(address) as client:
        response = client.route(**settings)
    if as_json:
        print_json(response)
    else:
        print_decision(response.decision)
