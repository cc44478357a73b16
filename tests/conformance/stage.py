"""What cases play on: processes that they share for one run, and for each case what it has for itself."""

from __future__ import annotations

import itertools
import json
import secrets
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.clients.scripted_sidecar import Serving
from tests.conformance.cases import Case
from tests.conformance.driver_process import DriverGone, DriverProcess, Reply
from tests.conformance.languages import Language
from tests.conformance.relay import Relay
from tests.conformance.scripts import BreakingSidecar, scripted
from tests.conformance.sidecars import Asked, Authority, Sidecar, Simulated
from tests.conformance.values import filled
from tests.unit.telemetry.otlp.scripted_collector import Collector, collecting

MAIN = "main"
"""The client that a case has unless it says otherwise."""
PATIENCE_SECONDS = 90.0
"""How long a reply or a condition is waited for: longer than any deadline in a case, on a machine that is busy."""

Calls = list[tuple[int, Future[Reply]]]
"""Operations of the driver that were begun together, by their ids."""

WORDS = json.dumps({"words": " ".join(f"word{number}" for number in range(1, 41))}, separators=(",", ":"))
"""What simulated models answer to `${words}`: they keep to the schema, which allows nothing else."""


def _prompt(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "ROLE_USER", "parts": [{"text": text}]}]}


def _words() -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {name: {"type": "string", "const": value} for name, value in json.loads(WORDS).items()},
        "required": ["words"],
        "additionalProperties": False,
    }
    return {**_prompt("Some words"), "response_format": {"json_schema": {"schema_json": json.dumps(schema)}}}


def _long_schema() -> str:
    """One whose only answer has 20 MB: twenty properties that are the same long text."""
    names = [f"part{number}" for number in range(1, 21)]
    return json.dumps(
        {
            "$defs": {"long": {"type": "string", "const": " ".join(["x" * 4999] * 200)}},
            "type": "object",
            "properties": {name: {"$ref": "#/$defs/long"} for name in names},
            "required": names,
            "additionalProperties": False,
        }
    )


PROMPTS = {"long_schema": _long_schema(), "hi": _prompt("Hi"), "words": _words(), "words_text": WORDS}
"""What cases ask again and again."""


@dataclass
class Stage:
    """What one case has. `known` is what its references can name; `calls` are operations that run in the background."""

    case: Case
    folder: Path
    known: dict[str, Any]
    patience_seconds: float
    driver: DriverProcess = field(init=False)
    simulated: Simulated | None = None
    sidecar: Sidecar | None = None
    script: BreakingSidecar | None = None
    relay: Relay | None = None
    collector: Collector | None = None
    calls: dict[str, Calls] = field(default_factory=dict)
    clients: set[str] = field(default_factory=set)
    prefix: str = ""
    began_at: float = 0.0
    """When the case began, on the clock of the wall, as the sidecar's log has it."""

    def client(self, name: str) -> str:
        """Returns the name by which the driver knows a client of this case."""
        return f"{self.prefix}{name}"


class House:
    """Everything that cases share, started when it is first needed; a context manager that ends it all."""

    def __init__(self, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience_seconds = patience_seconds
        self._running = ExitStack()
        self._folder = Path()
        self._simulated: Simulated | None = None
        self._sidecars: dict[str, Sidecar] = {}
        self._drivers: dict[str, DriverProcess] = {}
        self._authority: Authority | None = None
        self._collector: tuple[Collector, str] | None = None
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        self._folder = Path(self._running.enter_context(tempfile.TemporaryDirectory(prefix="turnout-conformance-")))
        return self

    def __exit__(self, *_: object) -> None:
        for driver in self._drivers.values():
            driver.stop()
        for sidecar in self._sidecars.values():
            sidecar.end()
        if self._simulated is not None:
            self._simulated.end()
        self._running.close()

    @contextmanager
    def stage(self, language: Language, case: Case) -> Iterator[Stage]:
        """Sets up what a case needs; what belongs to it alone ends with the block."""
        number = next(self._numbers)
        folder = self._folder / f"{number}"
        folder.mkdir()
        known: dict[str, Any] = {
            **PROMPTS,
            "folder": str(folder),
            "nobody": _nobodys_address(),
            # Spans of all cases go to one collector.
            "trace_id": secrets.token_hex(16),
            "span_id": secrets.token_hex(8),
        }
        with ExitStack() as own:
            stage = Stage(
                case=case,
                folder=folder,
                known=known,
                patience_seconds=self._patience_seconds,
                prefix=f"{number}-",
            )
            if case.scripted is not None:
                stage.script = scripted(filled(case.scripted, known))
                own.enter_context(Serving(stage.script))
                known["address"] = stage.script.address
            else:
                self._set_up_sidecar(stage, own)
            if case.relay:
                stage.relay = own.enter_context(Relay(known["address"]))
                known["address"] = stage.relay.address
                if stage.script is not None:
                    stage.script.lose = stage.relay.cut
            known["named_address"] = known["address"].replace("127.0.0.1", "localhost")
            stage.driver = self._driver(language, filled(case.environment, known), own)
            yield stage

    def _set_up_sidecar(self, stage: Stage, own: ExitStack) -> None:
        wanted = dict(stage.case.sidecar or {})
        environment = dict(wanted.pop("environment", {}))
        if wanted.pop("collector", False):
            stage.collector, endpoint = self._collecting()
            environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_METRICS_EXPORTER": "none"}
        asked = Asked(environment=environment, **wanted)
        stage.simulated = simulated = self._simulators()
        simulated.forget()
        sidecar = None if asked.alone else self._sidecars.get(asked.key)
        if sidecar is not None and sidecar.runs:
            sidecar.forget()
        else:
            folder = Path(tempfile.mkdtemp(dir=self._folder))
            sidecar = Sidecar(asked, simulated, folder, self._certificates)
            if asked.alone:
                own.callback(sidecar.end)
            else:
                self._sidecars[asked.key] = sidecar
        for name, changes in stage.case.providers.items():
            simulated.change(name, changes)
        stage.sidecar = sidecar
        stage.began_at = time.time()
        known = stage.known
        known["address"] = sidecar.address
        if asked.tokens:
            known["token_file"] = str(sidecar.token_file)
            known["token"] = sidecar.token_file.read_text().strip()
        if asked.listen in ("tls", "mtls"):
            authority = self._certificates()
            known["ca_file"] = str(authority.signer.cert_file)
            known["cert_file"], known["key_file"] = str(authority.caller.cert_file), str(authority.caller.key_file)
            known["stranger_file"] = str(authority.stranger.cert_file)

    def _driver(self, language: Language, environment: Mapping[str, str], own: ExitStack) -> DriverProcess:
        """The language's one driver; one of its own for a case with an environment."""
        if environment:
            return own.enter_context(DriverProcess(language.run, language.folder, environment))
        driver = self._drivers.get(language.name)
        if driver is None or not driver.alive:
            if driver is not None:
                driver.stop()
            driver = self._drivers[language.name] = DriverProcess(language.run, language.folder)
            self._warm_up(driver)
        return driver

    def _warm_up(self, driver: DriverProcess) -> None:
        """Has a new driver load what it needs for a call, so that no case's deadline is used up by that."""
        sidecar = scripted({"Route": [{"answer": {"decision": {"decisionId": "warm"}}}]})
        seconds = self._patience_seconds
        # What is wrong with it the case will tell.
        with Serving(sidecar), suppress(DriverGone, TimeoutError):
            driver.ask("open", seconds, client="warm", address=sidecar.address)
            driver.ask("route", seconds, client="warm", request={}, timeout_seconds=seconds)
            driver.ask("close", seconds, client="warm")

    def _simulators(self) -> Simulated:
        if self._simulated is None:
            self._simulated = Simulated(self._folder)
        return self._simulated

    def _certificates(self) -> Authority:
        if self._authority is None:
            folder = self._folder / "certificates"
            folder.mkdir()
            self._authority = Authority.made(folder)
        return self._authority

    def _collecting(self) -> tuple[Collector, str]:
        if self._collector is None:
            self._collector = self._running.enter_context(collecting())
        return self._collector


def _nobodys_address() -> str:
    """An address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"
