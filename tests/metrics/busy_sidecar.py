"""A real sidecar before simulated providers that fail in their ways, and callers that bring out every metric."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.certificates import Pair
from tests.cli.processes import Server, configuration, serving
from turnout import Client, Tls, TurnoutError
from turnout.v1 import router_pb2 as pb

LONG_SECONDS = 60.0
TOKEN = "a-token-of-the-test-0123456789abcdef"
ADMIN = "an-admin-token-of-the-test-0123456789"

PROVIDERS = (
    *("--provider", "north=openai", "--provider", "south=anthropic", "--provider", "west=openai"),
    *("--provider", "east=openai", "--latency", "*:first_token_seconds=0.02,seconds_per_output_token=0.001"),
    *("--fault", "south:error,status=529,share=0.5", "--fault", "west:cut,share=0.5"),
    *("--fault", "east:slow_first_token,seconds=1"),
)
PRICE = "price: {input_per_million_usd: 10, output_per_million_usd: 50}"
MODEL = "context_window_tokens: 128000, max_output_tokens: 8192, quality: 80, capabilities: [STREAMING, TOOLS]"
POLICIES = """
  provider_order: [south, west, north, east]
  policies:
    default: {strategy: PRIORITY, shadow_policy: beside}
    beside: {strategy: PRIORITY, preferences: [north/small]}
    cached: {strategy: COST, cache: {enabled: true}}
    hedged: {strategy: PRIORITY, preferences: [east/small], hedge: {enabled: true}}
    poor: {limits: {max_cost_usd: 0.000000001}}
"""


def sidecar_configuration(
    folder: Path, certificate: Pair, urls: dict[str, str], metrics: str, profile: str = "full"
) -> str:
    """Writes one with everything that has metrics of its own; returns its path."""
    providers = "".join(
        f"""
  {name}:
    wire: {"anthropic" if name == "south" else "openai"}
    base_url: {url}
    allow_insecure: true
    allow_private: true
    max_concurrency: 8
    models:
      - {{name: small, {MODEL}, {PRICE}, latency_prior_seconds: 0.1}}
"""
        for name, url in urls.items()
    )
    text = f"""
limits: {{max_concurrent_calls: 4, max_queue: 1}}
state: {{snapshot_file: {folder / "snapshot"}, snapshot_interval_seconds: 1}}
telemetry: {{metrics_profile: {profile}, request_log: {{file: {folder / "requests.jsonl"}}}}}
budgets: [{{name: monthly, limit_usd: 1000, period: month, per_pod: true}}]
routing:{POLICIES}
providers:{providers}
"""
    file = Path(configuration(folder, text))
    listen = f"""listen:
  address: "127.0.0.1:0"
  tls: {{cert_file: {certificate.cert_file}, key_file: {certificate.key_file}}}
  auth: {{tokens: [{{token_env: CALLER}}, {{token_env: ADMIN, role: admin}}]}}
"""
    written = file.read_text().replace('listen: {address: "127.0.0.1:0"}\n', listen)
    file.write_text(written.replace('metrics: {address: "127.0.0.1:0"}', f'metrics: {{address: "{metrics}"}}'))
    return str(file)


def free_address() -> str:
    """An address on this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


@contextmanager
def serving_busily(config: str, certificate: Pair) -> Iterator[Server]:
    """Starts the sidecar, and callers who go on until the end."""
    with serving(["serve", "-c", config], env={"CALLER": TOKEN, "ADMIN": ADMIN}) as server, ExitStack() as stack:
        tls = Tls(ca=certificate.cert)
        # Nobody sends again: what is turned away stays so.
        client = stack.enter_context(Client(server.address, token=TOKEN, tls=tls, max_retry_count=0))
        stranger = stack.enter_context(Client(server.address, token="x" * 40, tls=tls, max_retry_count=0))
        ended = threading.Event()
        callers = [
            threading.Thread(target=calling, args=(ended, whose(client, stranger), number)) for number in range(8)
        ]
        for caller in callers:
            caller.start()
        try:
            yield server
        finally:
            ended.set()
            for caller in callers:
                caller.join(LONG_SECONDS)


def calling(ended: threading.Event, calls: Sequence[Callable[[], object]], first: int) -> None:
    """Makes one call after the other, each caller beginning elsewhere; how they end is what the metrics are for."""
    for number in itertools.count(first):
        if ended.is_set():
            return
        with suppress(TurnoutError):
            calls[number % len(calls)]()
        time.sleep(0.01)


def whose(client: Client, stranger: Client) -> Sequence[Callable[[], object]]:
    """Calls of every kind."""
    numbers = itertools.count()

    def execute(**options: object) -> Callable[[], object]:
        made = pb.RoutingOptions(**options)  # type: ignore[arg-type]
        return lambda: client.execute("Hello", options=made, timeout_seconds=LONG_SECONDS, max_output_tokens=50)

    def stream(**options: object) -> Callable[[], object]:
        made = pb.RoutingOptions(**options)  # type: ignore[arg-type]
        return lambda: list(client.stream("Hello", options=made, timeout_seconds=LONG_SECONDS))

    def reported(cost_usd: float | None = None) -> object:
        options = pb.RoutingOptions(include=["north/small"])
        decision = client.route(options=options, input_tokens=10, max_output_tokens=10).decision
        outcome = pb.Outcome(
            decision_id=decision.decision_id,
            attempt_id=decision.decision_id,
            target=pb.Target(provider="north", model="small"),
            ok=True,
            cost_usd=cost_usd,
        )
        return client.report([outcome])

    def cached() -> object:
        prompt = f"The same {next(numbers) // 3}"
        return client.execute(prompt, temperature=0.0, options=pb.RoutingOptions(policy="cached"))

    return (
        execute(exclude=["east"]),
        stream(include=["west/small"], allow_fallback=False),
        # What this one cost is not known: the budget is charged with the worst case, of few tokens.
        reported,
        lambda: reported(0.001),
        cached,
        execute(policy="hedged", include=["east/small", "north/small"]),
        execute(policy="poor"),
        lambda: client.execute("Once", request_id="always-the-same", timeout_seconds=LONG_SECONDS),
        execute(include=["south/small"], allow_fallback=False),
        stream(include=["north/small"]),
        lambda: stranger.execute("Hello", timeout_seconds=LONG_SECONDS),
    )
