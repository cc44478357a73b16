"""What is seen on a stage, as text under a name: outputs of commands, answers of Prometheus, traces from Jaeger."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from tools.operations.pictures import trace_picture
from tools.operations.stage import Stage


class Records:
    """Texts by name, `SCENE/WHAT`, in the order in which they were recorded."""

    def __init__(self, scene: str) -> None:
        self._scene = scene
        self.texts: dict[str, str] = {}

    def text(self, name: str, text: str) -> None:
        """Records a text."""
        self.texts[f"{self._scene}/{name}"] = text.strip("\n")

    def command(self, name: str, stage: Stage, *arguments: str, fails: bool = False) -> str:
        """Runs a command and records it with what it printed; returns that."""
        out = stage.turnout(*arguments, fails=fails)
        lines = [line.rstrip() for line in out.splitlines()]
        shown = shlex.join(
            ("turnout", *(argument.replace(str(stage.folder), "/etc/turnout") for argument in arguments))
        )
        self.text(name, "\n".join((f"$ {shown}", *lines)))
        return out

    def query(self, name: str, stage: Stage, *queries: str) -> list[tuple[dict[str, str], float]]:
        """Asks Prometheus and records each query with its answer; returns the answer to the last."""
        texts, rows = [], []
        for query in queries:
            rows = stage.ask(query)
            texts.append("\n".join((query, *_table(rows))))
        self.text(name, "\n\n".join(texts))
        return rows

    def spans(self, name: str, stage: Stage, decision_id: str, attributes: Sequence[str]) -> list[dict[str, Any]]:
        """Records the trace of a decision as a tree, with these attributes where spans have them; returns its spans."""
        spans = stage.trace(decision_id)
        self.text(name, "\n".join(_tree(spans, attributes)))
        return spans

    def picture(self, stage: Stage, spans: Sequence[Mapping[str, Any]], opened: str = "", height: int = 900) -> None:
        """Takes a picture of a trace if pictures are wanted, with the first span whose name begins so opened."""
        if stage.pictures is not None:
            span = next((each["spanID"] for each in spans if opened and each["operationName"].startswith(opened)), "")
            file = stage.pictures / f"operations-{self._scene}.png"
            trace_picture(stage.jaeger, spans[0]["traceID"], file, opened=span, height_pixels=height)

    def log(self, name: str, stage: Stage, pattern: str, count: int = 2) -> list[str]:
        """Records the last lines of the log that a pattern is found in; returns all of them."""
        lines = stage.logged(pattern)
        self.text(name, "\n".join(line.replace(str(stage.folder), "/etc/turnout") for line in lines[-count:]))
        return lines


def attributes_of(span: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a span says of itself; arrays are JSON in Jaeger."""
    return {tag["key"]: tag["value"] for tag in span["tags"]}


def _table(rows: Sequence[tuple[Mapping[str, str], float]]) -> list[str]:
    if not rows:
        return ["  (no series)"]
    names = [" ".join(f"{key}={value}" for key, value in labels.items() if key != "__name__") for labels, _ in rows]
    # A label without a value is none to Prometheus.
    names = [name or "{}" for name in names] if len(names) > 1 else names
    width = max(map(len, names))
    return [
        f"  {name:<{width}}  {value:.4g}" if width else f"  {value:.4g}"
        for name, (_, value) in zip(names, rows, strict=True)
    ]


def _tree(spans: Sequence[Mapping[str, Any]], attributes: Sequence[str]) -> list[str]:
    known = {span["spanID"] for span in spans}
    lines: list[str] = []

    def parent(span: Mapping[str, Any]) -> str:
        found = [str(r["spanID"]) for r in span["references"] if r["refType"] == "CHILD_OF" and r["spanID"] in known]
        return found[0] if found else ""

    def below(above: str, depth: int) -> None:
        for span in spans:
            if parent(span) != above:
                continue
            heading = f"{'  ' * depth}{span['operationName']}"
            lines.append(f"{heading:<40} {_spelled(span['duration'] / 1e6)}")
            said = attributes_of(span)
            lines.extend(f"{'  ' * depth}    {key} = {said[key]}" for key in attributes if key in said)
            below(span["spanID"], depth + 1)

    below("", 0)
    return lines


def _spelled(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"
