"""The same request made by the clients of four languages within one trace, as a real Jaeger shows it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.jaeger import jaeger, parent, tags
from tests.conformance.driver_process import DriverProcess
from tests.conformance.languages import Language, languages
from tests.conformance.sidecars import Asked, Authority, Sidecar, Simulated
from tests.conformance.stage import PATIENCE_SECONDS, PROMPTS

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLERS_SPAN = "00f067aa0ba902b7"
FOUR = ("go", "java", "python", "typescript")
SPANS_OF_ONE_CALL = 3
"""The RPC, the decision and the attempt."""


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_four_languages_make_one_trace(tmp_path: Path, prepare: Callable[[Language], str]) -> None:
    clients = [language for language in languages() if language.name in FOUR]
    for language in clients:
        prepare(language)
    with jaeger(tmp_path) as collector:
        simulated = Simulated(tmp_path)
        try:
            asked = Asked(environment={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}, alone=True)
            sidecar = Sidecar(asked, simulated, tmp_path, lambda: Authority.made(tmp_path))
            try:
                texts = [_asked(language.run, language.folder, sidecar.address) for language in clients]
                spans = collector.spans(TRACE_ID, SPANS_OF_ONE_CALL * len(FOUR))
            finally:
                sidecar.end()
        finally:
            simulated.end()

    calls = [span for span in spans if tags(span).get("span.kind") == "server"]
    assert [PROMPTS["words_text"]] * len(FOUR) == texts
    assert ["turnout.v1.RouterService/Execute"] * len(FOUR) == [span["operationName"] for span in calls]
    assert {CALLERS_SPAN} == {parent(span) for span in calls}
    assert len(FOUR) == len({span["spanID"] for span in calls})


def _asked(command: object, folder: Path, address: str) -> str:
    """Has one client make the request; returns the answer's text."""
    assert isinstance(command, tuple)
    with DriverProcess(command, folder) as driver:
        opened = driver.ask("open", PATIENCE_SECONDS, client="main", address=address)
        assert "result" in opened, json.dumps(opened)
        reply = driver.ask(
            "execute",
            PATIENCE_SECONDS,
            client="main",
            request={"input": PROMPTS["words"]},
            traceparent=f"00-{TRACE_ID}-{CALLERS_SPAN}-01",
        )
        assert "result" in reply, json.dumps(reply)
        driver.ask("close", PATIENCE_SECONDS, client="main")
        text: str = reply["result"]["response"]["output"]["parts"][0]["text"]
        return text
