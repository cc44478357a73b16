"""The real thing: simulated providers over HTTP, and sidecars in front of them, as processes that cases may share."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import grpc
import yaml
from google.protobuf.json_format import MessageToDict

from tests.certificates import Pair, self_signed, signed
from turnout import administration
from turnout.connection import Tls, connect
from turnout.v1 import admin_pb2, admin_pb2_grpc, router_pb2_grpc
from turnout.v1 import router_pb2 as pb

TURNOUT = Path(sys.executable).with_name("turnout")
PROVIDERS = {"north": "openai", "south": "anthropic"}
REGIONS = {"north": "eu", "south": "us"}
START_SECONDS = 60.0
END_SECONDS = 60.0

MODEL: dict[str, Any] = {
    "name": "m",
    "context_window_tokens": 30_000_000,
    "max_output_tokens": 30_000_000,
    "quality": 80,
    "latency_prior_seconds": 0.05,
    "price": {"input_per_million_usd": 1, "output_per_million_usd": 2},
    "capabilities": ["STREAMING", "TOOLS", "PARALLEL_TOOLS", "JSON_SCHEMA", "THINKING"],
}


class StartError(Exception):
    """A process of ours that did not start; the text has what it wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a case wants of its sidecar: `settings` are laid over the usual configuration.

    `listen` is tcp, unix, tls or mtls. `token_role` is the role of a token that it then asks for, "" for none. Cases
    that ask for the same share one, unless `alone`.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    listen: str = "tcp"
    tokens: bool = False
    alone: bool = False

    @property
    def key(self) -> str:
        """Equal for those that may share a sidecar."""
        return json.dumps([self.settings, self.environment, self.listen, self.tokens], sort_keys=True, default=str)


@dataclass(frozen=True, slots=True)
class Authority:
    """Certificates of one run: who signs, the sidecar's own, a caller's, and an authority that nobody trusts."""

    signer: Pair
    server: Pair
    caller: Pair
    stranger: Pair

    @classmethod
    def made(cls, folder: Path) -> Self:
        """Makes them with openssl."""
        signer = self_signed(folder, "authority", "-addext", "keyUsage=critical,keyCertSign,digitalSignature")
        return cls(
            signer=signer,
            server=signed(signer, folder, "server"),
            caller=signed(signer, folder, "caller", "DNS:caller.example.com"),
            stranger=self_signed(folder, "stranger"),
        )


class Simulated:
    """`turnout sim` with the providers of all cases, and its control."""

    def __init__(self, folder: Path) -> None:
        flags = [flag for name, wire in PROVIDERS.items() for flag in ("--provider", f"{name}={wire}")]
        quick = ["--latency", "*:first_token_seconds=0.01,seconds_per_output_token=0.001,jitter=0"]
        wide = ["--set", "*:tokens_per_minute=10000000000"]
        self._process = _Process([str(TURNOUT), "sim", "--port", "0", *flags, *quick, *wide], folder / "sim.log")
        try:
            line = self._process.first_line()
        except StartError:
            self._process.end()
            raise
        self._control: str = line["control"]
        self.base_urls: dict[str, str] = {name: row["base_url"] for name, row in line["providers"].items()}
        self._usual = {name: self.told(name)["settings"] for name in PROVIDERS}

    def told(self, name: str) -> dict[str, Any]:
        """Returns settings and counts of a provider."""
        found: dict[str, Any] = _http("GET", f"{self._control}/{name}")
        return found

    def change(self, name: str, changes: Mapping[str, Any]) -> None:
        """Changes a provider at once."""
        _http("PATCH", f"{self._control}/{name}", changes)

    def forget(self) -> None:
        """Makes every provider what it was at first: well, quick, and nothing counted."""
        for name, usual in self._usual.items():
            settings = {key: value for key, value in usual.items() if key != "api_key"}
            self.change(name, {**settings, "cut_running": True})
            _http("POST", f"{self._control}/{name}/reset")

    def end(self) -> None:
        """Ends it."""
        self._process.end()


class Sidecar:
    """One `turnout serve`, which a case may stop and start again at the same address."""

    def __init__(self, asked: Asked, simulated: Simulated, folder: Path, authority: Callable[[], Authority]) -> None:
        self.asked = asked
        self.folder = folder
        self.authority = authority
        self._simulated = simulated
        self._process: _Process | None = None
        self._listening = "127.0.0.1:0"
        # A path of a socket has at most 107 bytes.
        self._short = Path(tempfile.mkdtemp(prefix="turnout-"))
        self.socket = self._short / "turnout.sock"
        self.token_file = folder / "token"
        self.admin_token_file = folder / "admin_token"
        if self._has_tokens:
            self.token_file.write_text("call-token-0123456789\n")
            self.admin_token_file.write_text("admin-token-0123456789\n")
        self._channel: grpc.Channel | None = None
        self._drained: frozenset[str] = frozenset()
        self.start()

    @property
    def address(self) -> str:
        """Where clients call."""
        return f"unix:{self.socket}" if self.asked.listen == "unix" else self._listening

    @property
    def runs(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.runs

    @property
    def _has_tokens(self) -> bool:
        # Who shows a certificate may call, and needs a token to change anything, as the runner does.
        return self.asked.tokens or self.asked.listen == "mtls"

    def start(self) -> None:
        """Starts it, at the address that it had before where it had one. Raises `StartError`."""
        file = self.folder / "turnout.yaml"
        file.write_text(yaml.safe_dump(self._configuration()))
        # Spans leave soon, so that nobody waits for them.
        environment = {"OTEL_BSP_SCHEDULE_DELAY": "50", **self.asked.environment}
        command = [str(TURNOUT), "serve", "-c", str(file)]
        if self._process is not None:
            # One that was stopped or killed before; its pipe is closed with it.
            self._process.end()
        self._process = _Process(command, self.folder / "sidecar.log", environment)
        line = self._process.first_line()
        self._listening = next((where for where in line["grpc"] if not where.startswith("unix:")), "")

    def signal(self, number: int) -> None:
        """Sends it a signal, and does not wait for what comes of it."""
        assert self._process is not None
        self._process.signal(number)

    def wait(self) -> None:
        """Waits until it has ended."""
        assert self._process is not None
        self._process.wait()

    def counts(self, since: float) -> Counter[str]:
        """Returns how many calls of Route, Execute and ExecuteStream began since a time and have ended.

        The sidecar's own log tells; `since` is on the clock of the wall, in seconds since the epoch.
        """
        counts: Counter[str] = Counter()
        for line in (self.folder / "sidecar.log").read_text().splitlines():
            found = json.loads(line) if line.startswith("{") and line.endswith("}") else {}
            if found.get("event") == "call":
                ended_at = datetime.fromisoformat(found["timestamp"]).timestamp()
                counts[found["method"]] += ended_at - found["latency_seconds"] >= since
        return counts

    def target_state(self, name: str) -> dict[str, Any]:
        """Returns the TargetState of "provider/model" as JSON."""
        provider, _, model = name.partition("/")
        request = pb.ProviderStatusRequest(providers=[provider])
        (state,) = router_pb2_grpc.RouterServiceStub(self._operator()).ProviderStatus(request, timeout=30).providers
        found = next(target for target in state.targets if target.target.model == model)
        return dict(MessageToDict(found))

    def drain(self, provider: str, *, drained: bool) -> None:
        """Takes a provider out, or back in."""
        request = administration.whole_request(provider, drained=drained)
        admin_pb2_grpc.AdminServiceStub(self._operator()).UpdateProvider(request, timeout=30)
        self._drained = (self._drained - {provider}) | ({provider} if drained else set())

    def forget(self) -> None:
        """Has it hold nothing against any target, and none drained."""
        for provider in self._drained:
            self.drain(provider, drained=False)
        request = admin_pb2.ResetHealthRequest(scope=admin_pb2.HealthScope(all=admin_pb2.AllTargets()))
        admin_pb2_grpc.AdminServiceStub(self._operator()).ResetHealth(request, timeout=30)

    def _operator(self) -> grpc.Channel:
        """A channel of the runner's own, for whoever may do everything."""
        if self._channel is None:
            tls = None
            if self.asked.listen in ("tls", "mtls"):
                authority = self.authority()
                # Who need not show a certificate may.
                caller = authority.caller
                tls = Tls(ca=authority.signer.cert, certificate=caller.cert, key=caller.key)
            token_file = str(self.admin_token_file) if self._has_tokens else ""
            self._channel = connect(self.address, {}, token_file=token_file, tls=tls).channel()
        return self._channel

    def end(self) -> None:
        """Ends it, however it is."""
        if self._channel is not None:
            self._channel.close()
        if self._process is not None:
            self._process.end()
        with contextlib.suppress(OSError):
            self.socket.unlink()
        self._short.rmdir()

    def log(self) -> str:
        """Returns the last of what it wrote."""
        return (self.folder / "sidecar.log").read_text()[-3000:]

    def _configuration(self) -> dict[str, Any]:
        listen: dict[str, Any] = {"address": "" if self.asked.listen == "unix" else self._listening}
        if self.asked.listen == "unix":
            listen["socket"] = str(self.socket)
        if self.asked.listen in ("tls", "mtls"):
            authority = self.authority()
            pair = authority.server
            listen["tls"] = {"cert_file": str(pair.cert_file), "key_file": str(pair.key_file)}
            if self.asked.listen == "mtls":
                listen["tls"]["client_ca_file"] = str(authority.signer.cert_file)
        if self._has_tokens:
            tokens = [{"token_file": str(self.token_file)}, {"token_file": str(self.admin_token_file), "role": "admin"}]
            listen["auth"] = {"tokens": tokens}
        usual = {
            "listen": listen,
            "health": {"address": ""},
            "metrics": {"address": ""},
            "telemetry": {"access_log": "all", "log_format": "json"},
            "checks": {"enabled": False},
            "providers": {
                name: {
                    "wire": wire,
                    "base_url": self._simulated.base_urls[name],
                    "allow_insecure": True,
                    "allow_private": True,
                    "region": REGIONS[name],
                    "models": [MODEL],
                }
                for name, wire in PROVIDERS.items()
            },
            "routing": {"provider_order": list(PROVIDERS), "policies": {"default": {"strategy": "PRIORITY"}}},
            # Cases fail on purpose, one soon after the other.
            "failover": {"retry_budget_ratio": 1.0, "throttle_multiplier": None, "connect_timeout_seconds": 60},
            "drain_seconds": 1,
        }
        whole: dict[str, Any] = _laid_over(usual, self.asked.settings)
        return whole


def _laid_over(usual: Any, own: Any) -> Any:
    if not isinstance(usual, Mapping) or not isinstance(own, Mapping):
        return own
    return {**usual, **{name: _laid_over(usual.get(name), part) for name, part in own.items()}}


class _Process:
    """A command of the product; it says in one line of JSON where it listens."""

    def __init__(self, command: list[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        kept = {name: os.environ[name] for name in ("HOME", "PATH", "TMPDIR", "VIRTUAL_ENV") if name in os.environ}
        self._log = log
        with log.open("a") as stderr:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                command, stdout=subprocess.PIPE, stderr=stderr, text=True, env={**kept, **(environment or {})}
            )

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def first_line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait(END_SECONDS)
            raise StartError(self._log.read_text()[-3000:])
        found: dict[str, Any] = json.loads(line)
        return found

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self) -> None:
        self._process.wait(END_SECONDS)

    def end(self) -> None:
        if self.runs:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def _http(method: str, url: str, body: Mapping[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method)  # noqa: S310 - our own
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as answer:
        return json.load(answer)
