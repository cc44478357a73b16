"""What docs/operations.md names is there, and what it must have a word on has one: alerts, reasons of rejections."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest
import yaml

from tests.unit.test_documents import ROOT, anchors
from tools.operations.page import BLOCK, rewritten
from tools.operations.scenes import SCENES
from turnout_server.core.events import EventName
from turnout_server.core.model import FailureKind, RejectionReason
from turnout_server.main import cli
from turnout_server.telemetry.metrics.instruments import INSTRUMENTS, Kind, prometheus_label

PAGE = ROOT / "docs" / "operations.md"
TEXT = PAGE.read_text()
ALERTS = ROOT / "helm" / "turnout" / "files" / "alerts.yaml"
MOST_BYTES = 150_000
ALL_LABELS = {prometheus_label(label) for one in INSTRUMENTS for label in one.labels}

OF_PROMETHEUS = {"le", "instance", "job", "container", "pod", "namespace"}

_FENCE = re.compile(r"^```[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_METRIC = re.compile(r"\b(?:turnout|gen_ai|rpc|process)_[a-z0-9_]+\b")
_MATCHED = re.compile(r"\b((?:turnout|gen_ai|rpc|process)_[a-z0-9_]+)\{([^}]*)\}")
_BY = re.compile(r"\bby \(([^)]*)\)")
_ATTRIBUTE = re.compile(r"\b(?:turnout|gen_ai|rpc|error)\.[a-z_]+(?:\.[a-z_]+)*\b")
_KEY = re.compile(r"([a-z_]+(?:\.[A-Za-z_]+)+)(?:: .*)?")
_UPPER = re.compile(r"[A-Z]+(?:_[A-Z]+)+|[A-Z]{4,}")


def pieces() -> Iterator[str]:
    """What is written as code: lines of blocks, and the pieces in between."""
    for block in _FENCE.findall(TEXT):
        yield from block.splitlines()
    yield from _CODE.findall(_FENCE.sub("", TEXT))


@cache
def metrics() -> dict[str, frozenset[str]]:
    """Labels of each series by its name."""
    found: dict[str, frozenset[str]] = {}
    for one in INSTRUMENTS:
        endings = {Kind.COUNTER: ("_total",), Kind.GAUGE: ("",), Kind.HISTOGRAM: ("_bucket", "_count", "_sum", "")}
        for ending in endings[one.kind]:
            found[one.prometheus_name + ending] = frozenset(map(prometheus_label, one.labels))
    return found


def commands() -> list[list[str]]:
    """The command lines of the page, split into words."""
    lines = [piece.partition("# ")[0].removeprefix("$ ") for piece in pieces()]
    lines = [line.rpartition("-- ")[2] if line.startswith("kubectl") else line for line in lines]
    return [shlex.split(line) for line in lines if re.match(r"turnout [a-z]", line)]


def test_every_command_is_there_with_its_options_and_their_values() -> None:
    wrong = []
    for words in commands():
        command: click.Command = cli
        for word in words[1:]:
            nested = command.get_command(click.Context(cli), word) if isinstance(command, click.Group) else None
            command = nested or command
        options = {each: parameter for parameter in command.params for each in parameter.opts}
        for word, value in zip(words, [*words[1:], ""], strict=True):
            if word.startswith("-"):
                kind = options[word].type if word in options else None
                wrong += [] if kind is not None and fits(kind, value) else [(words, word, value)]
        wrong += [(words, "", "")] if command is cli else []

    assert ["turnout", "statistics", "--by", "tenant"] in commands()
    assert wrong == []


def fits(kind: click.ParamType[object], value: str) -> bool:
    try:
        return not isinstance(kind, click.Choice) or kind.convert(value, None, None) is not None
    except click.BadParameter:
        return False


def test_every_metric_is_there() -> None:
    named = {name for piece in pieces() for name in _METRIC.findall(piece) if name not in ALL_LABELS}

    assert "turnout_rejections_total" in named
    assert sorted(named - set(metrics())) == []


def test_every_label_is_one_of_its_metric() -> None:
    wrong = []
    for piece in pieces():
        for name, matchers in _MATCHED.findall(piece):
            labels = set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", matchers))
            wrong += [(name, label) for label in labels - metrics().get(name, frozenset()) - OF_PROMETHEUS]
        for listed in _BY.findall(piece):
            labels = {label.strip() for label in listed.split(",")}
            known = {label for name in _METRIC.findall(piece) for label in metrics().get(name, ())}
            wrong += [(piece, label) for label in labels - known - OF_PROMETHEUS]

    assert wrong == []


def test_every_attribute_of_a_span_is_there() -> None:
    source = "".join(file.read_text() for file in (ROOT / "server/turnout_server/telemetry").rglob("*.py"))
    named = {name for piece in pieces() for name in _ATTRIBUTE.findall(piece)} - {
        "turnout.yaml",
        "turnout.v",
        "turnout.dev",
    }

    assert "turnout.rejections.reasons" in named
    assert sorted(name for name in named if f'"{name}"' not in source) == []


def test_every_event_is_there() -> None:
    known = {event.value for event in EventName}
    named = set(re.findall(r"--name ([a-z_.]+)", TEXT)) | set(re.findall(r"event `([a-z_.]+)`", TEXT))
    for block in BLOCK.finditer(TEXT):
        if block["name"].endswith("/events"):
            named |= {line.split()[2] for line in block["text"].splitlines() if re.match(r"\d{4}-", line)}

    assert "breaker.opened" in named
    assert sorted(named - known - {"turnout.candidate"}) == []


def test_every_key_of_the_configuration_and_every_line_of_the_log_is_there() -> None:
    server = "".join(file.read_text() for file in (ROOT / "server" / "turnout_server").rglob("*.py"))
    documented = (ROOT / "docs" / "configuration.md").read_text()
    tops = set(re.findall(r"^\| `(\w+)` \|", documented, re.MULTILINE))
    named = {found[1] for piece in _CODE.findall(_FENCE.sub("", TEXT)) if (found := _KEY.fullmatch(piece))}
    keys = {name for name in named if name.partition(".")[0] in tops and not name.startswith("metrics.")}

    assert "failover.idle_timeout_seconds" in keys
    unknown = {key for key in keys if f"`{key}`" not in documented and f"`{key}[]`" not in documented}
    assert {key for key in unknown if f'"{key}"' not in server} == set()


def test_every_reason_of_a_rejection_says_what_to_do() -> None:
    section = TEXT.partition("\n## A provider is never chosen")[2].partition("\n## ")[0]
    rows = {
        name for line in section.splitlines() if line.startswith("| `") for name in _CODE.findall(line.split("|")[1])
    }
    # Sessions with limits of their own are not built yet.
    expected = {reason.value for reason in RejectionReason} - {"SESSION_LIMIT"}

    assert rows == expected


def test_every_word_in_capitals_is_known() -> None:
    documents = "".join((ROOT / "docs" / name).read_text() for name in ("errors.md", "configuration.md", "tracing.md"))
    known = {one.value for one in (*FailureKind, *RejectionReason)}
    named = {piece for piece in _CODE.findall(_FENCE.sub("", TEXT)) if _UPPER.fullmatch(piece)}

    assert "STREAM_INTERRUPTED" in named
    assert sorted(name for name in named - known if not re.search(rf"\b{name}\b", documents)) == []


def test_every_alert_has_its_section_and_every_section_its_alert() -> None:
    alerts = {each["alert"] for each in yaml.safe_load(re.sub(r"@\w+@", "1", ALERTS.read_text()))}
    expected = {f"alert-{re.sub(r'(?<!^)(?=[A-Z])', '-', name).lower()}" for name in alerts}

    assert {anchor for anchor in anchors(PAGE) if anchor.startswith("alert-")} == expected
    assert set(re.findall(r"`(Turnout[A-Z]\w+)`", TEXT)) == alerts


def test_every_scene_is_shown_and_nothing_else() -> None:
    blocks = {block["name"]: block["text"] for block in BLOCK.finditer(TEXT)}

    assert {name.partition("/")[0] for name in blocks} == set(SCENES)
    assert [name for name, text in blocks.items() if not text.strip()] == []
    assert TEXT.count("<!-- run: ") == len(blocks)


def test_pictures_are_there_and_small() -> None:
    pictures = [PAGE.parent / path for path in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", TEXT)]

    assert pictures
    assert [picture.name for picture in pictures if not 1_000 < picture.stat().st_size < MOST_BYTES] == []


def test_a_page_is_rewritten_only_where_something_was_recorded() -> None:
    page = "a\n<!-- run: x/one -->\n```text\nold\n```\nb\n<!-- run: y/two -->\n```text\nkept\n```\n"

    assert rewritten(page, {"x/one": "new\\1\nlines"}) == page.replace("old", "new\\1\nlines")
    with pytest.raises(ValueError, match="no block for \\['x/three'\\]"):
        rewritten(page, {"x/one": "new", "x/three": "new"})
    with pytest.raises(ValueError, match="what its blocks \\['x/one'\\] ask for"):
        rewritten(page.replace("y/two", "x/two"), {"x/two": "new"})


def test_paths_of_this_machine_are_not_in_the_page() -> None:
    assert [] == re.findall(rf"/tmp/\S*|{re.escape(str(Path.home()))}/\S*|{re.escape(str(ROOT))}", TEXT)  # noqa: S108 - looked for
