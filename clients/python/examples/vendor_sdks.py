"""The official SDKs of OpenAI and Anthropic, called through a plan: one's own keys, one's own connection, routed.

    pip install -r requirements.txt
    OPENAI_API_KEY=… ANTHROPIC_API_KEY=… python vendor_sdks.py "What is a turnout?"

The sidecar says whom to call and hears how it went; a target that fails is passed over, by this call and by the next.
The SDKs' own retries are off (`max_retries=0`): the plan's next target is the retry, and the sidecar is to hear of each
failure. A plan is used again for seconds without asking, and while the sidecar is away. Exit codes: 0 an answer,
1 failure, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import anthropic
import openai

import turnout

MAX_OUTPUT_TOKENS = 300
TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An answer, and who gave it."""

    text: str
    target: str


class UnknownWireError(Exception):
    """The plan offers a target for which there is no SDK here; it comes out at once."""


class MissingKeyError(Exception):
    """There is no key for a provider; another target would not help, so it comes out at once."""


def ask_openai(attempt: turnout.PlanAttempt, prompt: str) -> Said:
    """Calls a target that speaks OpenAI's wire, streaming, and notes what the sidecar learns from."""
    client = openai.OpenAI(
        api_key=key_of(attempt.provider),
        base_url=attempt.base_url,
        max_retries=0,
        timeout=attempt.timeout_seconds or TIMEOUT_SECONDS,
    )
    pieces = []
    finished = False
    with (
        client,
        client.chat.completions.create(
            model=attempt.model,
            messages=[{"role": "user", "content": prompt}],
            max_completion_tokens=MAX_OUTPUT_TOKENS,
            stream=True,
            stream_options={"include_usage": True},
        ) as stream,
    ):
        for chunk in stream:
            for choice in chunk.choices:
                if choice.delta.content:
                    attempt.first_token()
                    pieces.append(choice.delta.content)
                finished = finished or choice.finish_reason is not None
            if chunk.usage is not None:
                details = chunk.usage.prompt_tokens_details
                attempt.usage(
                    input_tokens=chunk.usage.prompt_tokens,
                    output_tokens=chunk.usage.completion_tokens,
                    cached_input_tokens=None if details is None else details.cached_tokens,
                )
    if not finished:
        # The SDK ends quietly where a stream is cut off between two events.
        attempt.failed(turnout.FailureKind.FAILURE_KIND_TRUNCATED)
    return Said(text="".join(pieces), target=attempt.target)


def ask_anthropic(attempt: turnout.PlanAttempt, prompt: str) -> Said:
    """Calls a target that speaks Anthropic's wire, streaming, and notes what the sidecar learns from."""
    client = anthropic.Anthropic(
        api_key=key_of(attempt.provider),
        # The SDK adds the version itself.
        base_url=attempt.base_url.removesuffix("/v1"),
        max_retries=0,
        timeout=attempt.timeout_seconds or TIMEOUT_SECONDS,
    )
    pieces = []
    with (
        client,
        client.messages.stream(
            model=attempt.model,
            messages=[{"role": "user", "content": prompt}],
            max_tokens=MAX_OUTPUT_TOKENS,
        ) as stream,
    ):
        for text in stream.text_stream:
            attempt.first_token()
            pieces.append(text)
        answer = stream.get_final_message()
    if answer.stop_reason is None:
        attempt.failed(turnout.FailureKind.FAILURE_KIND_TRUNCATED)
    cached, written = answer.usage.cache_read_input_tokens or 0, answer.usage.cache_creation_input_tokens or 0
    attempt.usage(
        # Anthropic leaves what was read from its cache and written to it out of input_tokens.
        input_tokens=answer.usage.input_tokens + cached + written,
        output_tokens=answer.usage.output_tokens,
        cached_input_tokens=cached,
        cache_write_tokens=written,
    )
    return Said(text="".join(pieces), target=attempt.target)


WIRES: Mapping[str, Callable[[turnout.PlanAttempt, str], Said]] = {"openai": ask_openai, "anthropic": ask_anthropic}
"""Many providers speak OpenAI's wire; `attempt.wire` says which SDK fits, `attempt.base_url` where."""


def ask(client: turnout.Client, prompt: str) -> Said:
    """Returns the answer of the first target that gives one. Raises PlanExhaustedError where none does."""
    return client.call(
        lambda attempt: sdk_for(attempt)(attempt, prompt),
        task="chat",
        input_tokens=len(prompt) // 4 + 1,
        max_output_tokens=MAX_OUTPUT_TOKENS,
        # Nothing is passed on before the end here, so an answer that broke off may begin again elsewhere.
        options=turnout.RoutingOptions(mid_stream=turnout.MidStreamPolicy.MID_STREAM_POLICY_RESTART),
    )


def sdk_for(attempt: turnout.PlanAttempt) -> Callable[[turnout.PlanAttempt, str], Said]:
    """Returns what calls a target. Raises UnknownWireError: no failure of the target's, which others can call."""
    if attempt.wire not in WIRES:
        msg = f"{attempt.target} speaks {attempt.wire}, and there is no SDK for that here: leave it out with exclude"
        raise UnknownWireError(msg)
    return WIRES[attempt.wire]


def key_of(provider: str) -> str:
    """Returns the application's own key for a provider, from its environment."""
    name = f"{provider.upper().replace('-', '_')}_API_KEY"
    key = os.environ.get(name, "")
    if not key:
        msg = f"{name} is not set: the plan offers {provider}, and there is no key for it"
        raise MissingKeyError(msg)
    return key


def main() -> int:
    """Asks one question."""
    parser = argparse.ArgumentParser(prog="vendor_sdks", description=__doc__)
    parser.add_argument("prompt")
    given = parser.parse_args()
    try:
        with turnout.Client() as client:
            said = ask(client, given.prompt)
    except (turnout.TurnoutError, MissingKeyError, UnknownWireError) as error:
        sys.stderr.write(f"vendor_sdks: {error}\n")
        return 1
    except ValueError as error:
        sys.stderr.write(f"vendor_sdks: {error}\n")
        return 2
    sys.stdout.write(f"{said.text}\n")
    sys.stderr.write(f"answered by {said.target}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
