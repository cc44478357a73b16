"""What the tests of conduct under failure share: a sidecar process before simulated providers, and raw ones."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import orjson

from turnout import AsyncClient, AsyncStream, TurnoutError
from turnout.v1 import router_pb2 as pb

PROVIDER = """
  {name}:
    wire: {wire}
    base_url: {url}
    api_key_env: NORTH_KEY
    allow_insecure: true
    allow_private: true
    models:
      - {{name: m, context_window_tokens: 128000, max_output_tokens: 4096, quality: 80, capabilities: [STREAMING],
         latency_prior_seconds: {prior}, price: {{input_per_million_usd: 1, output_per_million_usd: 2}}}}"""
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def configuration(*providers: tuple[str, str, str], failover: str = "{}", prior: float = 0.05, more: str = "") -> str:
    """Writes a configuration of providers, each (name, wire, base URL), asked in that order."""
    names = ", ".join(name for name, _, _ in providers)
    listed = "".join(PROVIDER.format(name=name, wire=wire, url=url, prior=prior) for name, wire, url in providers)
    return f"""
listen: {{address: "127.0.0.1:0"}}
health: {{address: ""}}
metrics: {{address: ""}}
providers:{listed}
routing:
  provider_order: [{names}]
  policies: {{default: {{strategy: PRIORITY}}}}
failover: {failover}
drain_seconds: 1
{more}
"""


def chat(prompt: str = "Hello", *, max_output_tokens: int = 1000) -> pb.ChatInput:
    """Makes a request whose answer may be so long that a unary call is fetched as a stream."""
    message = pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text=prompt)])
    return pb.ChatInput(messages=[message], max_output_tokens=max_output_tokens)


async def reason(client: AsyncClient, prompt: str = "Hello", *, target: str = "") -> str:
    """Returns "complete", or the reason of the error that a unary call ends with."""
    try:
        await client.execute(chat(prompt), options=pb.RoutingOptions(force_target=target), timeout_seconds=60)
    except TurnoutError as error:
        return error.reason
    return "complete"


async def until_first_delta(stream: AsyncStream) -> None:
    """Reads until something of the answer has come."""
    async for event in stream:
        if event.WhichOneof("event") == "delta":
            return


async def end_of(stream: AsyncStream) -> TurnoutError | None:
    """Reads to the end and returns the error it was, None for a complete answer."""
    try:
        await stream.answer()
    except TurnoutError as error:
        return error
    return None


async def breakers(client: AsyncClient) -> dict[str, str]:
    """Tells the state of every target's breaker, by provider."""
    status = await client.status()
    return {
        target.target.provider: pb.BreakerState.Name(target.breaker).removeprefix("BREAKER_STATE_")
        for provider in status.providers
        for target in provider.targets
    }


async def until(done: Callable[[], Awaitable[bool]], *, seconds: float) -> None:
    """Returns once that is so; TimeoutError when it does not come about in time."""
    async with asyncio.timeout(seconds):
        while not await done():  # noqa: ASYNC110  # what is awaited happens in another process
            await asyncio.sleep(0.02)


@asynccontextmanager
async def raw_provider(answer: Handler) -> AsyncGenerator[str]:
    """Serves whatever `answer` writes after a request has been read; yields the base URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()


async def read_body(reader: asyncio.StreamReader) -> bytes:
    """Reads one request and returns its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return await reader.readexactly(int(length.partition(b":")[2]))


def said(text: str, *, finish: str | None = None) -> bytes:
    """Returns an event of the openai wire."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + orjson.dumps({"id": "r", "model": "m", "choices": [choice]}) + b"\n\n"
