"""The cells as Markdown: a table for unary calls, one for streams, the sums, and who was configured how."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bench.failover.contender import After, Cell
from bench.failover.judging import Verdict
from bench.failover.processes import MEMORY_LIMIT_MIB
from bench.failover.rows import WORDS, all_rows

ABOUT = Path(__file__).parent / "about.md"
NOT_PLAYED = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Everything that a run has brought. `configurations` are of one row each; `absent` was not installed."""

    cells: Sequence[Cell]
    after: Sequence[After]
    configurations: Mapping[str, object]
    absent: Sequence[str]

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Self:
        """Returns results as they were saved."""
        return cls(
            cells=[Cell(**cell) for cell in saved["cells"]],
            after=[After(**after) for after in saved["after"]],
            configurations=saved["configurations"],
            absent=saved["absent"],
        )

    @property
    def contenders(self) -> list[str]:
        """Who took part, in order."""
        return list(dict.fromkeys(cell.contender for cell in self.cells))


def joined(parts: Iterable[Results]) -> Results:
    """Returns the results of several runs as one, in that order; whoever took part in one of them is not absent."""
    parts = tuple(parts)
    names = [name for part in parts for name in part.contenders]
    return Results(
        cells=[cell for part in parts for cell in part.cells],
        after=[after for part in parts for after in part.after],
        configurations={name: each for part in parts for name, each in part.configurations.items()},
        absent=[
            absent
            for absent in dict.fromkeys(name for part in parts for name in part.absent)
            if not any(name.startswith(absent) for name in names)
        ],
    )


def document(results: Results) -> str:
    """Returns the whole document."""
    wrong = [cell for cell in results.cells if cell.contender.startswith("Turnout") and Verdict(cell.verdict).wrong]
    honest = [cell for cell in results.cells if cell.contender == "Turnout" and cell.verdict == Verdict.HONEST]
    return (
        ABOUT.read_text(encoding="utf-8")
        .replace("{{tables}}", "\n".join(tables(results)))
        .replace("{{sums}}", "\n".join(sums_table(results)))
        .replace("{{after}}", "\n".join(after_table(results)))
        .replace("{{configurations}}", "\n".join(configurations(results)))
        .replace("{{absent}}", " and ".join(results.absent) or "nobody")
        .replace("{{wrong}}", "\n".join(_said(wrong)))
        .replace("{{honest}}", "\n".join(_said(honest)))
        .replace("{{rivals_wrong}}", "\n".join(_said(_rivals_wrong(results))))
    )


def tables(results: Results) -> list[str]:
    """Returns the table of unary calls and that of streams: verdict, seconds, attempts at the faulty provider."""
    cells = {(cell.contender, cell.row): cell for cell in results.cells}
    lines: list[str] = []
    for streamed, title in ((False, "### Unary calls"), (True, "### Streams")):
        names = [name for name in results.contenders if streamed or "RESTART" not in name]
        rows = [
            row for row in all_rows() if row.streamed is streamed and any((name, row.key) in cells for name in names)
        ]
        table = ((WORDS[row.fault.name], *(_cell(cells.get((name, row.key))) for name in names)) for row in rows)
        lines += [title, "", *_table(("fault", *names), table), ""]
    return lines[:-1]


def sums_table(results: Results) -> list[str]:
    """Returns for each contender how many rows ended how, the seconds of all, and the attempts at the provider."""
    counts = {
        name: Counter(cell.verdict for cell in results.cells if cell.contender == name) for name in results.contenders
    }
    rows = (
        (
            name,
            str(count[Verdict.COMPLETE]),
            str(count[Verdict.HONEST]),
            *(str(count[verdict]) for verdict in Verdict if verdict.wrong),
            f"{_slowest(results, name):.1f}",
            str(sum(cell.attempts or 0 for cell in results.cells if cell.contender == name)),
        )
        for name, count in counts.items()
    )
    wrong = [verdict.value for verdict in Verdict if verdict.wrong]
    return _table(("", "complete", "honest error", *wrong, "slowest, s", "attempts at the faulty provider"), rows)


def after_table(results: Results) -> list[str]:
    """Returns how everybody was afterwards."""
    rows = (
        (
            one.contender,
            one.verdict,
            f"{one.seconds:.2f}",
            f"{one.peak_mib:.0f}{', ended' if one.peak_mib >= MEMORY_LIMIT_MIB else ''}",
        )
        for one in results.after
    )
    return _table(("", "a call without fault", "seconds", "most memory, MiB"), rows)


def configurations(results: Results) -> list[str]:
    """Returns what everybody was configured with, for the first row, as JSON."""
    lines: list[str] = []
    for name, configuration in results.configurations.items():
        if "RESTART" not in name:
            lines += [f"**{name}**", "", "```json", json.dumps(configuration, indent=1), "```", ""]
    return lines[:-1]


def _rivals_wrong(results: Results) -> list[Cell]:
    return [cell for cell in results.cells if not cell.contender.startswith("Turnout") and Verdict(cell.verdict).wrong]


def _said(cells: Iterable[Cell]) -> list[str]:
    rows = [(cell.contender, cell.row, cell.verdict, _quoted(cell.said)) for cell in cells]
    return _table(("", "row", "", "what the caller was told"), rows) if rows else ["None."]


def _quoted(said: str) -> str:
    text = " ".join(said.replace("|", "/").replace("`", "'").split())
    return f"`{text[:120]}`" if text else ""


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return NOT_PLAYED
    attempts = "" if cell.attempts is None else f", {cell.attempts}"
    verdict = f"**{cell.verdict}**" if Verdict(cell.verdict).wrong else cell.verdict
    return f"{verdict}, {cell.seconds:.1f} s{attempts}"


def _slowest(results: Results, name: str) -> float:
    return max(cell.seconds for cell in results.cells if cell.contender == name)


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [headings, ["---"] * len(headings), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
