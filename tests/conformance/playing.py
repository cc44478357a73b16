"""Plays a case against a client: step by step, until one does not come out as the case expects."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conformance.cases import DRIVER_OPS, Case, fields_of
from tests.conformance.driver_process import DriverGone, Reply
from tests.conformance.expectations import Count, differences, shown
from tests.conformance.languages import Language
from tests.conformance.seen_spans import server_spans
from tests.conformance.sidecars import Sidecar, Simulated
from tests.conformance.stage import MAIN, Calls, House, Stage
from tests.conformance.values import CaseError, filled

POLL_SECONDS = 0.02
SIGNALS = {"terminate": signal.SIGTERM, "kill": signal.SIGKILL}


class Unlike(Exception):  # noqa: N818 - it is what was found
    """Something did not come out as the case expects; the text says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How one case went with one client. `why` is "" where it went well."""

    case: str
    language: str
    why: str
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether it went well."""
        return not self.why


def play(house: House, language: Language, case: Case) -> Result:
    """Plays one case; whatever goes wrong is in the result."""
    began_at = time.monotonic()
    why = ""
    try:
        with house.stage(language, case) as stage:
            why = _play(stage)
            if why and stage.sidecar is not None and not stage.sidecar.runs:
                why += f"\nthe sidecar's log:\n{stage.sidecar.log()}"
    except Exception as error:  # noqa: BLE001 - the outermost edge: the table says what went wrong
        why = f"the case could not be played: {type(error).__name__}: {error}"
    return Result(case=case.name, language=language.name, why=why, seconds=time.monotonic() - began_at)


def _play(stage: Stage) -> str:
    case = stage.case
    at = "opening the client"
    try:
        if case.client is not None:
            _operate(stage, {"op": "open", "address": "${address}", **case.client})
        for number, step in enumerate(case.steps, start=1):
            at = f"step {number} ({_named(step)})"
            _step(stage, step)
        at = "closing the clients"
        _close(stage)
    except (Unlike, CaseError, DriverGone) as error:
        _abandon(stage)
        return f"{at}: {error}"
    return ""


def _named(step: Mapping[str, Any]) -> str:
    return f"{step['op']}" if "op" in step else str(next(iter(step)))


def _step(stage: Stage, step: Mapping[str, Any]) -> None:
    if "op" in step:
        ends_at = time.monotonic() + stage.patience_seconds
        while step.get("until") and time.monotonic() < ends_at:
            try:
                return _operate(stage, step)
            except Unlike:
                time.sleep(POLL_SECONDS)
        for _ in range(step.get("times", 1)):
            _operate(stage, step)
        return None
    name = next(kind for kind in _STEPS if kind in step)
    return _STEPS[name](stage, step)


def _operate(stage: Stage, step: Mapping[str, Any]) -> None:
    """Has the driver do something, and looks at its reply, now or when the case awaits it."""
    fields = filled(fields_of(step), stage.known)
    name = fields.pop("client", MAIN)
    op = step["op"]
    if op in DRIVER_OPS and op != "hello":
        fields["client"] = stage.client(name)
    begun = [stage.driver.start(op, **fields) for _ in range(step.get("at_once", 1))]
    if op == "open" and "error" not in step:
        stage.clients.add(name)
    elif op == "close":
        stage.clients.discard(name)
    if "background" in step:
        stage.calls[step["background"]] = begun
        return
    _look_at_all(stage, step, begun)


def _look_at_all(stage: Stage, step: Mapping[str, Any], begun: Calls) -> None:
    came = [_look_at(stage, step, future) for _, future in begun]
    if "as" in step:
        name, last = step["as"], came if len(came) > 1 else came[0]
        stage.known[name] = [*stage.known.get(name, []), last] if step.get("times", 1) > 1 else last


def _look_at(stage: Stage, step: Mapping[str, Any], future: Future[Reply]) -> Any:
    """Waits for a reply, compares it with what the step expects, and returns it."""
    try:
        reply = future.result(stage.patience_seconds)
    except FutureTimeoutError:
        raise Unlike(f"no reply after {stage.patience_seconds:.0f} s") from None
    if "error" in step:
        if "error" not in reply:
            raise Unlike(f"expected an error, got {shown(reply['result'])}")
        came, expected = reply["error"], step["error"]
    else:
        if "error" in reply:
            raise Unlike(f"expected an answer, got the error {shown(reply['error'])}")
        came, expected = reply["result"], step.get("expect", {})
    _compare(stage, expected, came)
    return came


def _compare(stage: Stage, expected: Any, came: Any) -> None:
    found = list(differences(filled(expected, stage.known), came))
    if found:
        raise Unlike("; ".join(found))


def _until(
    stage: Stage, expected: Any, look: Callable[[], Any], wrong: Callable[[Any], bool] = lambda _: False
) -> None:
    """Looks until what is seen is as expected; gives up at once where it is `wrong`: so that it cannot become right."""
    expected = filled(expected, stage.known)
    ends_at = time.monotonic() + stage.patience_seconds
    while True:
        seen = look()
        found = list(differences(expected, seen))
        if not found:
            return
        if wrong(seen) or time.monotonic() > ends_at:
            raise Unlike("; ".join(found))
        time.sleep(POLL_SECONDS)


def _await(stage: Stage, step: Mapping[str, Any]) -> None:
    if step["await"] not in stage.calls:
        raise CaseError(f"await {step['await']}: nothing of that name was begun in the background")
    _look_at_all(stage, step, stage.calls[step["await"]])


def _cancel(stage: Stage, step: Mapping[str, Any]) -> None:
    for number, _ in stage.calls[step["cancel"]]:
        reply = stage.driver.ask("cancel", stage.patience_seconds, target=number)
        if "error" in reply:
            raise Unlike(f"cancel: {shown(reply['error'])}")


def _provider(stage: Stage, step: Mapping[str, Any]) -> None:
    _simulated(stage).change(step["provider"], filled(step["becomes"], stage.known))


def _provider_saw(stage: Stage, step: Mapping[str, Any]) -> None:
    simulated = _simulated(stage)
    _until(stage, step["expect"], lambda: simulated.told(step["provider_saw"])["counts"])


def _simulated(stage: Stage) -> Simulated:
    if stage.simulated is None:
        raise CaseError("a scripted sidecar has no providers")
    return stage.simulated


def _real_sidecar(stage: Stage) -> Sidecar:
    if stage.sidecar is None:
        raise CaseError("this step needs a real sidecar, not a scripted one")
    return stage.sidecar


def _sidecar(stage: Stage, step: Mapping[str, Any]) -> None:
    sidecar, what = _real_sidecar(stage), step["sidecar"]
    if not sidecar.asked.alone:
        raise CaseError("a case that stops its sidecar needs one that is alone")
    if what == "start":
        sidecar.start()
    elif what == "ended":
        sidecar.wait()
    elif what in SIGNALS:
        sidecar.signal(SIGNALS[what])
    else:
        raise CaseError(f"sidecar: {what!r} is none of start, ended, {', '.join(SIGNALS)}")


def _sidecar_got(stage: Stage, step: Mapping[str, Any]) -> None:
    sidecar, expected = _real_sidecar(stage), step["sidecar_got"]

    def counted() -> dict[str, int]:
        counts = sidecar.counts(stage.began_at)
        return {name: counts[name] for name in expected}

    def too_many(seen: Mapping[str, int]) -> bool:
        return any(isinstance(expected[name], int) and seen[name] > expected[name] for name in expected)

    _until(stage, expected, counted, too_many)


def _state(stage: Stage, step: Mapping[str, Any]) -> None:
    sidecar = _real_sidecar(stage)
    _until(stage, step["expect"], lambda: sidecar.target_state(step["state"]))


def _drain(stage: Stage, step: Mapping[str, Any]) -> None:
    drained = "drain" in step
    _real_sidecar(stage).drain(step["drain" if drained else "undrain"], drained=drained)


def _relay(stage: Stage, step: Mapping[str, Any]) -> None:
    relay, what = stage.relay, step["relay"]
    if relay is None or what not in ("cut", "swallow", "refuse", "accept"):
        raise CaseError(f"relay: {what!r} is none of cut, swallow, refuse, accept, or the case has no relay")
    if what == "swallow":
        relay.swallow()
        return
    if what != "cut":
        relay.accept(accepting=what == "accept")
    if what != "accept":
        relay.cut()


def _received(stage: Stage, step: Mapping[str, Any]) -> None:
    script, method = stage.script, step["received"]
    if script is None:
        raise CaseError("received is for scripted sidecars; real ones have sidecar_got")
    expected = step["expect"]
    longest = expected.length if isinstance(expected, Count) else len(expected) if isinstance(expected, list) else None

    def too_many(seen: list[Any]) -> bool:
        return isinstance(longest, int) and len(seen) > longest

    _until(stage, expected, lambda: script.received(method), too_many)


def _received_in_order(stage: Stage, step: Mapping[str, Any]) -> None:
    script = stage.script
    if script is None:
        raise CaseError("received_in_order is for scripted sidecars")
    _until(stage, step["received_in_order"], lambda: ",".join(script.methods()))


def _spans(stage: Stage, step: Mapping[str, Any]) -> None:
    collector = stage.collector
    if collector is None:
        raise CaseError("spans needs a sidecar with a collector")
    trace_id = filled(step["spans"], stage.known)
    _until(stage, step["expect"], lambda: server_spans(collector.requests, trace_id))


def _write(stage: Stage, step: Mapping[str, Any]) -> None:
    Path(filled(step["write"], stage.known)).write_text(filled(step["text"], stage.known))


def _check(stage: Stage, step: Mapping[str, Any]) -> None:
    _compare(stage, step["expect"], filled(step["check"], stage.known))


def _pause(_stage: Stage, step: Mapping[str, Any]) -> None:
    threading.Event().wait(step["pause"])


_STEPS: Mapping[str, Callable[[Stage, Mapping[str, Any]], None]] = {
    "await": _await,
    "cancel": _cancel,
    "provider": _provider,
    "provider_saw": _provider_saw,
    "sidecar": _sidecar,
    "sidecar_got": _sidecar_got,
    "state": _state,
    "drain": _drain,
    "undrain": _drain,
    "relay": _relay,
    "received": _received,
    "received_in_order": _received_in_order,
    "spans": _spans,
    "write": _write,
    "check": _check,
    "pause": _pause,
}


def _close(stage: Stage) -> None:
    for name in sorted(stage.clients):
        stage.clients.discard(name)
        reply = stage.driver.ask("close", stage.patience_seconds, client=stage.client(name))
        if "error" in reply:
            raise Unlike(f"close of {name}: {shown(reply['error'])}")


def _abandon(stage: Stage) -> None:
    """Leaves nothing running in the driver after a case that went wrong; one that does not heed it is ended."""
    try:
        for begun in stage.calls.values():
            for number, future in begun:
                if not future.done():
                    stage.driver.ask("cancel", stage.patience_seconds, target=number)
        for name in stage.clients:
            stage.driver.ask("close", stage.patience_seconds, client=stage.client(name))
    except (DriverGone, FutureTimeoutError):
        stage.driver.stop()
