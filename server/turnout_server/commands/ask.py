"""`turnout ask`: one prompt through the sidecar, the answer as it comes."""

from __future__ import annotations

import sys
from typing import Unpack

import click

from turnout.answer import Answer, target_name
from turnout.client import Client
from turnout.requests import ExecuteSettings
from turnout.v1 import router_pb2 as pb
from turnout_server.commands.numbers import MAX_TOKENS, FiniteRange
from turnout_server.commands.printing import print_json, seconds, tokens_text, usd
from turnout_server.commands.request_options import Request, caller_of, options_of, profile_of, request_options
from turnout_server.commands.sidecar import EPILOG, calling, sidecar_options


@click.command("ask", epilog=EPILOG)
@click.argument("prompt")
@click.option("--system", default="", help="A system prompt.")
@click.option("--max-output-tokens", type=click.IntRange(1, MAX_TOKENS), help="The longest answer wanted.")
@click.option("--temperature", type=FiniteRange(min=0, max=2), help="Absent: the model's own.")
@click.option("--restart", is_flag=True, help="Where a stream breaks, begin the answer again on another target.")
@request_options
@sidecar_options
def ask(
    *,
    address: str | None,
    timeout_seconds: float | None,
    as_json: bool,
    prompt: str,
    system: str,
    max_output_tokens: int | None,
    temperature: float | None,
    restart: bool,
    **request: Unpack[Request],
) -> None:
    """Send PROMPT ("-": standard input) and print the answer while it comes.

    The answer goes to stdout; who gave it and what it took goes to stderr. With --json every event is a line.
    """
    options = options_of(request)
    if restart:
        options.mid_stream = pb.MID_STREAM_POLICY_RESTART
    settings = ExecuteSettings(profile=profile_of(request), options=options, caller=caller_of(request))
    if system:
        settings["system"] = system
    if max_output_tokens is not None:
        settings["max_output_tokens"] = max_output_tokens
    if temperature is not None:
        settings["temperature"] = temperature
    if timeout_seconds is not None:
        settings["timeout_seconds"] = timeout_seconds
    text = sys.stdin.read() if prompt == "-" else prompt
    if not text.strip():
        raise click.UsageError("the prompt is empty")
    with calling(address) as client:
        _print_events(client, text, settings) if as_json else _print_text(client, text, settings)


def _print_events(client: Client, text: str, settings: ExecuteSettings) -> None:
    with client.stream(text, **settings) as stream:
        for event in stream:
            print_json(event, lines=True)


def _print_text(client: Client, text: str, settings: ExecuteSettings) -> None:
    with client.stream(text, **settings) as stream:
        given = False
        try:
            for piece in stream.text(_say_restart):
                given = True
                click.echo(piece, nl=False)
        finally:
            if given:
                click.echo()
        click.echo(_summary(stream.answer()), err=True)


def _say_restart() -> None:
    click.echo()
    click.echo("— the stream broke; the answer begins again on another target —", err=True)


def _summary(answer: Answer) -> str:
    words = [target_name(answer.target)]
    words.append(f"{tokens_text(answer.usage)} tokens")
    if answer.cost_usd is not None:
        words.append(usd(answer.cost_usd))
    if answer.attempts:
        words.append(seconds(answer.attempts[-1].latency))
    if len(answer.attempts) > 1:
        words.append(f"{len(answer.attempts)} attempts")
    return f"[{', '.join(words)}; turnout explain {answer.decision.decision_id}]"
