"""How callers ask: Turnout by its published client, the others by OpenAI's; nobody's client retries anything."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import openai

from bench.failover.judging import Told
from turnout import AsyncClient, TurnoutError
from turnout.v1 import router_pb2 as pb

PROMPT = "Say what the signal shows."
BUDGET_SECONDS = 30.0
RETRIES = 2
PATIENCE_SECONDS = BUDGET_SECONDS * (RETRIES + 2) + 10.0
"""For whoever takes the 30 s for each attempt: three at the provider, one at the fallback, and some time to say so."""
GRACE_SECONDS = 1.0
"""By how much an end may come later than a deadline and still not be called hung."""


class Heard:
    """What a caller has heard so far; it is asked again when the call ends badly."""

    def __init__(self) -> None:
        self.text = ""


async def timed(ask: Callable[[Heard], Awaitable[str]], patience_seconds: float) -> Told:
    """Lets `ask` make a call, which returns its error in words, "" for none; ends it when patience does."""
    heard, began_at = Heard(), time.monotonic()
    error, hung = "", False
    try:
        async with asyncio.timeout(patience_seconds):
            error = await ask(heard)
    except TimeoutError:
        hung = True
    return Told(text=heard.text, error=error, hung=hung, seconds=time.monotonic() - began_at)


async def ask_turnout(
    client: AsyncClient, providers: tuple[str, ...], *, streamed: bool, mid_stream: pb.MidStreamPolicy.ValueType
) -> Told:
    """Asks for one of these providers, the first of them preferred, with 30 s for everything."""
    options = pb.RoutingOptions(include=providers, mid_stream=mid_stream)

    async def call(heard: Heard) -> str:
        try:
            if streamed:
                stream = client.stream(PROMPT, options=options, timeout_seconds=BUDGET_SECONDS)
                heard.text = (await stream.answer()).text
            else:
                answer = await client.execute(PROMPT, options=options, timeout_seconds=BUDGET_SECONDS)
                heard.text = answer.text
        except TurnoutError as error:
            if not error.reason:
                # The sidecar did not speak: the caller's own clock ended the call.
                raise TimeoutError from error
            return str(error)
        return ""

    return await timed(call, BUDGET_SECONDS + GRACE_SECONDS)


async def ask_openai(client: openai.AsyncOpenAI, model: str, *, streamed: bool, headers: dict[str, str]) -> Told:
    """Asks for a model over the openai wire, with patience for every attempt of the budget."""

    async def call(heard: Heard) -> str:
        try:
            if streamed:
                await _stream(client, model, headers, heard)
            else:
                whole = await client.chat.completions.create(
                    model=model, messages=[{"role": "user", "content": PROMPT}], extra_headers=headers
                )
                # What is not what was promised is shown as it came: the client does not look at it either.
                choices = getattr(whole, "choices", None)
                heard.text = (choices[0].message.content or "") if choices else "" if choices == [] else str(whole)
        except openai.OpenAIError as error:
            return f"{type(error).__name__}: {error}"
        except Exception as error:  # noqa: BLE001  # whatever the client makes of it, its caller sees an error
            return f"{type(error).__name__} in the client: {error}"
        return ""

    return await timed(call, PATIENCE_SECONDS)


async def _stream(client: openai.AsyncOpenAI, model: str, headers: dict[str, str], heard: Heard) -> None:
    stream = await client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": PROMPT}], stream=True, extra_headers=headers
    )
    async with stream:
        async for chunk in stream:
            if chunk.choices:
                heard.text += chunk.choices[0].delta.content or ""
