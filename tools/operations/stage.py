"""A stage: a real sidecar before simulated providers, watched by a real Jaeger and a real Prometheus."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tools.operations import processes
from tools.operations.fleet import PROVIDERS, configuration
from tools.operations.processes import LONG_SECONDS, TURNOUT, StagingError, fetched, free_ports, until
from turnout import Client, TurnoutError

PAGE_SECONDS = 1.2
"""A page of metrics is given out for a second, so that what is scraped may be so old."""


class Stage:
    """One that is set up. What is asked of it is what an operator can ask; only faults are planted by other ways."""

    def __init__(self, folder: Path, base_urls: Mapping[str, str], control: str) -> None:
        self.folder = folder
        self.file = folder / "turnout.yaml"
        self.log = folder / "turnout.log"
        self.pictures: Path | None = None
        """Where screenshots go; None: none are made."""
        self.jaeger = self.prometheus = self._otlp = ""
        self._extra: dict[str, str] = {}
        self._base_urls = base_urls
        self._control = control
        self._grpc, self._health, self._metrics = free_ports(3)
        self._listen = {
            "listen": {"address": f"127.0.0.1:{self._grpc}"},
            "health": {"address": f"127.0.0.1:{self._health}"},
            "metrics": {"address": f"127.0.0.1:{self._metrics}"},
        }

    @property
    def address(self) -> str:
        """Where the sidecar takes calls."""
        return f"127.0.0.1:{self._grpc}"

    @property
    def metrics(self) -> str:
        """Where it is scraped."""
        return f"127.0.0.1:{self._metrics}"

    def configure(self, changes: Mapping[str, Any] | None = None) -> None:
        """Writes the sidecar's configuration, with these changes laid over the usual one."""
        text = configuration(self._base_urls, listen=self._listen, changes=changes or {})
        fresh = self.file.with_suffix(".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.rename(self.file)

    def plant(self, name: str, fault: Mapping[str, Any] | None = None, **settings: Any) -> None:
        """Changes a simulated provider; without a fault what was planted before is taken away."""
        body = json.dumps({"fault": fault, **settings}).encode()
        request = urllib.request.Request(f"{self._control}/{name}", data=body, method="PATCH")  # noqa: S310 - our own
        with urllib.request.urlopen(request, timeout=LONG_SECONDS):  # noqa: S310 - our own
            pass

    def calls(self, count: int, *, at_once: int = 4, stream: bool = False, **settings: Any) -> Counter[str]:
        """Makes so many calls, some at a time; returns how many ended in which way, by the reason of the error."""
        settings = {"timeout_seconds": LONG_SECONDS, "task": "chat", **settings}
        text = settings.pop("text", "When does the night train leave?")
        with Client(self.address) as client, ThreadPoolExecutor(at_once) as pool:

            def one(_number: int) -> str:
                try:
                    if stream:
                        for _piece in client.stream(text, **settings).text():
                            pass
                    else:
                        client.execute(text, **settings)
                except TurnoutError as error:
                    return getattr(error, "reason", "") or type(error).__name__
                return "OK"

            return Counter(pool.map(one, range(count)))

    def seen_calls(self, count: int, **settings: Any) -> Counter[str]:
        """Makes calls as `calls` does, the last after the first were scraped: a new counter counts from then on."""
        first = self.calls(min(count, 2), **settings)
        self.scrape()
        ended = first + self.calls(count - min(count, 2), **settings)
        self.scrape()
        return ended

    def turnout(self, *arguments: str, fails: bool = False) -> str:
        """Runs a command as an operator does; returns what it printed. Raises `StagingError` where it ends badly."""
        ended = subprocess.run(  # noqa: S603 - our own command
            [TURNOUT, *arguments],
            env=processes.environment({"TURNOUT_ADDRESS": self.address} | self._extra),
            capture_output=True,
            text=True,
            timeout=LONG_SECONDS,
            check=False,
        )
        if (ended.returncode != 0) is not fails:
            raise StagingError(f"turnout {' '.join(arguments)} ended with {ended.returncode}: {ended.stderr}")
        return (ended.stdout + (ended.stderr if fails else "")).replace(str(self.folder), "/etc/turnout")

    def decision(self, *filters: str) -> str:
        """Returns the id of the latest decision that filters of `turnout decisions` leave."""
        found = json.loads(self.turnout("decisions", "--limit", "1", "--json", *filters))
        return str(found["decisions"][0]["decision"]["decision_id"])

    def ask(self, query: str) -> list[tuple[dict[str, str], float]]:
        """Returns what Prometheus answers: labels and value of each series, the largest first."""
        url = f"{self.prometheus}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        answer = fetched(url)
        if answer is None:
            raise StagingError(f"Prometheus does not take the query {query}")
        rows = [(dict(each["metric"]), float(each["value"][1])) for each in answer["data"]["result"]]
        return sorted(rows, key=lambda row: (-row[1], sorted(row[0].items())))

    def scraped(self, query: str) -> None:
        """Waits until Prometheus answers a query with anything."""
        until(lambda: self.ask(query), f"an answer of Prometheus to {query}")

    def scrape(self) -> None:
        """Waits until Prometheus has scraped what is now."""
        # The time of anything but a plain selector is that of the question.
        self.scraped(f"timestamp(up) > {time.time() + PAGE_SECONDS:.3f} and up == 1")

    def trace(self, decision_id: str) -> list[dict[str, Any]]:
        """Returns the spans of the trace that a decision is in, once Jaeger has it whole, in order of beginning."""
        tags = urllib.parse.quote(json.dumps({"turnout.decision.id": decision_id}))
        url = f"{self.jaeger}/api/traces?service=turnout&limit=1&lookback=1h&tags={tags}"

        def whole() -> list[dict[str, Any]]:
            found = (fetched(url) or {}).get("data") or []
            spans = found[0]["spans"] if found else []
            return spans if any("RouterService" in span["operationName"] for span in spans) else []

        return sorted(until(whole, f"the trace of {decision_id}"), key=lambda span: int(span["startTime"]))

    def logged(self, pattern: str) -> list[str]:
        """Returns the lines of the sidecar's log that a pattern is found in."""
        return [line for line in self.log.read_text(encoding="utf-8").splitlines() if re.search(pattern, line)]

    @contextmanager
    def serving(self, extra: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
        """Runs the sidecar, tracing every call."""
        self._extra = dict(extra or {})
        traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": self._otlp, "OTEL_BSP_SCHEDULE_DELAY": "200"}
        traced |= {"OTEL_METRICS_EXPORTER": "none"} | self._extra
        with processes.started([TURNOUT, "serve", "-c", self.file], self.log, traced) as process:
            processes.first_line(process, self.log)
            self.scraped("up == 1")
            yield process

    def watch(self, stack: ExitStack) -> None:
        """Starts those who watch: Jaeger and Prometheus."""
        self._otlp, self.jaeger = stack.enter_context(processes.jaeger(self.folder))
        self.prometheus = stack.enter_context(processes.prometheus(self.folder, self.metrics))


@contextmanager
def staged(folder: Path, changes: Mapping[str, Any] | None = None, *, serve: bool = True) -> Iterator[Stage]:
    """Sets up a stage in an empty folder, with healthy providers that answer within tenths of a second."""
    folder.mkdir(parents=True, exist_ok=True)
    flags = [flag for name, wire in PROVIDERS.items() for flag in ("--provider", f"{name}={wire}")]
    latency = ["--latency", "*:first_token_seconds=0.1,seconds_per_output_token=0.002"]
    with ExitStack() as stack:
        log = folder / "sim.log"
        sim = stack.enter_context(processes.started([TURNOUT, "sim", "--port", "0", *flags, *latency], log))
        line = processes.first_line(sim, log)
        urls = {name: each["base_url"] for name, each in line["providers"].items()}
        stage = Stage(folder, urls, line["control"])
        stage.configure(changes)
        stage.watch(stack)
        if serve:
            stack.enter_context(stage.serving())
        yield stage
