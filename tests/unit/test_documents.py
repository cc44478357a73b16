"""What documents name is there: links and their headings, files, `make` targets, commands, values of the charts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from turnout_server.main import COMMANDS

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("helm/*.md"), *ROOT.glob("helm/*/*.md")])
DOCUMENTS += sorted(ROOT.glob("tools/*.md"))
CHARTS = ("turnout", "turnout-sidecar")

_FENCE = re.compile(r"^```[^\n]*\n.*?^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_FILE = re.compile(r"(?:\./)?(?:docs|helm|tools|tests|server|clients|protos|catalog|bench|\.ci)/[\w./-]+")
_TARGET = re.compile(r"\bmake (?:[A-Z_]+=\S+ )*([a-z][a-z-]*)\b")
_COMMAND = re.compile(r"(?:^|[|;&] *|-- |\.venv/bin/)turnout ([a-z]+)\b", re.MULTILINE)
_SET = re.compile(r"--set ([\w.-]+)=")
_VALUE = re.compile(r"[a-z]\w*(?:\.\w+)+")


@cache
def anchors(file: Path) -> frozenset[str]:
    """The anchors of a document's headings, as GitHub makes them; a heading that comes again has a number."""
    counts: dict[str, int] = {}
    found = set()
    for heading in _HEADING.findall(_FENCE.sub("", file.read_text())):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        number = counts[anchor] = counts.get(anchor, -1) + 1
        found.add(f"{anchor}-{number}" if number else anchor)
    return frozenset(found)


def code(file: Path) -> Iterator[str]:
    """What is written as code: whole blocks, and the pieces in between."""
    text = file.read_text()
    yield from _FENCE.findall(text)
    yield from _CODE.findall(_FENCE.sub("", text))


def where(file: Path) -> str:
    return str(file.relative_to(ROOT))


def test_every_link_leads_somewhere() -> None:
    dead = []
    for document in DOCUMENTS:
        for link in _LINK.findall(_FENCE.sub("", document.read_text())):
            path, _, anchor = link.partition("#")
            target = (document.parent / path).resolve() if path else document
            if not re.match(r"[a-z]+:", link) and not (target.exists() and (not anchor or anchor in anchors(target))):
                dead.append((where(document), link))

    assert [] == dead


def test_every_file_that_is_named_is_there() -> None:
    missing = []
    for document in DOCUMENTS:
        named = {text.rstrip("./") for text in _CODE.findall(document.read_text()) if _FILE.fullmatch(text)}
        missing += [
            (where(document), name)
            for name in sorted(named)
            if not (ROOT / name).exists() and not (document.parent / name).exists()
        ]

    assert [] == missing


def test_every_make_target_is_there() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    named = {(name, where(file)) for file in DOCUMENTS for text in code(file) for name in _TARGET.findall(text)}
    assert [] == sorted(one for one in named if one[0] not in targets)


def test_every_command_is_there() -> None:
    named = {(name, where(file)) for file in DOCUMENTS for text in code(file) for name in _COMMAND.findall(text)}

    assert [] == sorted(one for one in named if one[0] not in COMMANDS)


def test_every_value_of_a_chart_is_there() -> None:
    tops = {name for chart in CHARTS for name in values(chart)}
    unknown = []
    for document in DOCUMENTS:
        text = document.read_text()
        named = set(_SET.findall(text))
        if "helm" in text:
            pieces = _CODE.findall(_FENCE.sub("", text))
            named |= {name for name in pieces if _VALUE.fullmatch(name) and name.partition(".")[0] in tops}
        unknown += [(where(document), name) for name in sorted(named) if not has_value(name)]

    assert [] == unknown


def has_value(path: str) -> bool:
    chart, _, rest = path.partition(".")
    if chart == "turnout-sidecar":
        return _is_in(values(chart), rest)
    return any(_is_in(values(name), path) for name in CHARTS)


@cache
def values(chart: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "helm" / chart / "values.yaml").read_text())
    return found


def _is_in(block: dict[str, Any], path: str) -> bool:
    """Whether a path is of a chart's values; what lies in a block that is empty there is for its schema to say."""
    at: Any = block
    for name in path.split("."):
        if not isinstance(at, dict) or (at and name not in at):
            return False
        at = at.get(name, {})
    return True
