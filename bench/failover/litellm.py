"""LiteLLM's proxy, where it is installed, configured with what its documentation has for reliability."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import openai

from bench.failover.asking import BUDGET_SECONDS, RETRIES, ask_openai
from bench.failover.judging import Told
from bench.failover.processes import ROOT, Providers, free_port, served, started
from bench.failover.rows import GOOD, Row

VARIABLE = "TURNOUT_BENCH_LITELLM"
FOLDER = ROOT / ".venv-rivals" / "litellm"
STREAM_SECONDS = 10.0
"""Its limit for streams: what Turnout gives a first token by default, so that it need not wait three times 30 s."""
FALLBACK = "fallback"
KEY = "sk-bench"


@dataclass(frozen=True, slots=True, kw_only=True)
class LiteLLM:
    """The proxy of one installation, a virtual environment of its own."""

    folder: Path
    version: str
    case: str = "litellm"

    @classmethod
    def found(cls) -> Self | None:
        """Returns the one that the variable names, else the one that RIVALS=1 sets up; None where there is none."""
        folder = Path(os.environ.get(VARIABLE, FOLDER))
        python = folder / "bin" / "python"
        if not (folder / "bin" / "litellm").exists():
            return None
        asked = [str(python), "-c", "import importlib.metadata as m; print(m.version('litellm'))"]
        told = subprocess.run(asked, capture_output=True, text=True, check=True)  # noqa: S603 - our own command
        return cls(folder=folder, version=told.stdout.strip())

    @property
    def name(self) -> str:
        """What the tables call it."""
        return f"LiteLLM {self.version}"

    def plays(self, row: Row) -> bool:
        """Whether a row says anything of it."""
        del row
        return True

    def configuration(self, providers: Providers, rows: Sequence[Row]) -> dict[str, Any]:
        """Returns the whole file: a model group for each row, the good provider as the fallback of each."""
        addresses = {row.key: providers.url(row.fault.name, row.place, f"{self.case}-{row.key}") for row in rows}
        addresses[FALLBACK] = providers.url(GOOD, GOOD, f"{self.case}-{FALLBACK}")
        return {
            "model_list": [
                {"model_name": name, "litellm_params": {"model": "openai/m", "api_base": url, "api_key": KEY}}
                for name, url in addresses.items()
            ],
            "router_settings": {
                "num_retries": RETRIES,
                "timeout": BUDGET_SECONDS,
                "stream_timeout": STREAM_SECONDS,
                "fallbacks": [{row.key: [FALLBACK]} for row in rows],
                "allowed_fails": 3,
                "cooldown_time": 30,
            },
            "litellm_settings": {"request_timeout": BUDGET_SECONDS, "drop_params": True, "telemetry": False},
        }

    @asynccontextmanager
    async def running(self, providers: Providers, rows: Sequence[Row]) -> AsyncIterator[Running]:
        """Starts the proxy, and ends it."""
        port, master_key = free_port(), f"sk-{secrets.token_hex(32)}"
        with tempfile.TemporaryDirectory() as folder:
            file, log = Path(folder) / "litellm.yaml", Path(folder) / "log"
            file.write_text(json.dumps(self.configuration(providers, rows)), encoding="utf-8")
            command = [str(self.folder / "bin" / "litellm"), "--config", str(file), "--host", "127.0.0.1"]
            # Without it the price list is fetched from the network at each start.
            environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "*", "LITELLM_MASTER_KEY": master_key}
            with started([*command, "--port", str(port)], environment, log=log, folder=Path(folder)) as process:
                url = f"http://127.0.0.1:{port}"
                await served(f"{url}/health/liveliness", process, log)
                async with openai.AsyncOpenAI(
                    base_url=f"{url}/v1", api_key=master_key, max_retries=0, timeout=None
                ) as client:
                    yield Running(client, process.pid)


class Running:
    """The proxy while it runs."""

    def __init__(self, client: openai.AsyncOpenAI, pid: int) -> None:
        self._client = client
        self._pid = pid

    async def ask(self, row: Row) -> Told:
        """Makes the call of a row."""
        return await ask_openai(self._client, row.key, streamed=row.streamed, headers={})

    async def ask_well(self) -> Told:
        """Makes a call that meets no fault."""
        return await ask_openai(self._client, FALLBACK, streamed=True, headers={})

    @property
    def pid(self) -> int:
        """Its process."""
        return self._pid
