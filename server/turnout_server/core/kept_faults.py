"""What cannot be in a line, whoever wrote it: numbers that are none, counts below zero, more rows than are ever kept.

A document may have the right form and the right checksum, and still say what no sidecar has ever seen. Taken over, that
would be found by the call that meets it; so it is looked for before anything is taken.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from math import isfinite
from typing import Any

from turnout_server.core.budget_book import KEYS_MAXIMUM
from turnout_server.core.chronicle import QUARTER_MINUTES
from turnout_server.core.kept import (
    BreakerLine,
    BudgetLine,
    CostsLine,
    CountsRow,
    EndpointLine,
    HistogramRow,
    KeptAverage,
    KeptGate,
    KeptPeak,
    Line,
    SpentLine,
    StatisticsLine,
    SumsLine,
    TargetLine,
)
from turnout_server.core.statistics import BUCKETS_MAXIMUM, MINUTES_KEPT

NUMBER_MAXIMUM = 10**18
"""Of anything, in either direction: a thousand million USD in nano-USD. Ages and waits may be below zero."""
COUNT_MAXIMUM = 10**12
"""Of what is counted in one row, so that sums of many rows fit into a message."""
WEIGHT_MAXIMUM = 1e9
HALF_LIFE_MAXIMUM_SECONDS = 366 * 86_400.0
DAY_MAXIMUM = 1_000_000
"""Of days since the epoch: no year of ours."""
TEXT_MAXIMUM = 2048
ROWS_MAXIMUM = KEYS_MAXIMUM + 1
RECENT_ROWS_MAXIMUM = 4096
"""Rows of seconds, and of parts of a window: far more than any setting has."""


def fault(line: Line) -> str:
    """Returns what is wrong with a line, "" where nothing is."""
    return _common(line) or _first(_own(line))


def _common(value: Any) -> str:
    """Looks at all that a line holds, whatever it is."""
    if isinstance(value, tuple):
        if len(value) > ROWS_MAXIMUM:
            return f"{len(value)} rows at one place"
        if set(map(type, value)) == {int}:
            # Buckets and counts are most of a document.
            return _word(max(value)) or _word(min(value))
        return _first(map(_common, value))
    if isinstance(value, dict):
        return _first(_common(part) for item in value.items() for part in item)
    if value is None or isinstance(value, int | float | str):
        return _word(value)
    return _first(_common(getattr(value, each.name)) for each in dataclasses.fields(value)) or _part(value)


def _word(value: float | str | None) -> str:
    if isinstance(value, str):
        return "" if len(value) <= TEXT_MAXIMUM else f"a text of {len(value)} characters"
    if value is None or (isfinite(value) and abs(value) <= NUMBER_MAXIMUM):
        return ""
    return f"the number {float(value):g}"


def _part(value: Any) -> str:
    match value:
        case KeptAverage() if value.weight > WEIGHT_MAXIMUM:
            return f"an average of {value.weight:g} values"
        case KeptPeak() if value.weight > WEIGHT_MAXIMUM or value.half_life > HALF_LIFE_MAXIMUM_SECONDS:
            return "an average that would never change"
        case KeptGate() if value.openings < 0 or value.successes < 0:
            return "a count below 0"
    return ""


def _own(line: Line) -> Iterator[str]:
    match line:
        case BreakerLine() | EndpointLine():
            yield _rows(line.recent)
        case TargetLine():
            yield _rows(line.throttle)
            yield _counts((count for _, _, _, count, _ in line.usual), COUNT_MAXIMUM)
        case StatisticsLine():
            if len(line.minutes) > MINUTES_KEPT:
                yield f"{len(line.minutes)} minutes of one hour"
            yield from (_sums(counts) for _, counts in line.minutes)
        case BudgetLine():
            yield _counts((spent for _, spent, _ in line.accounts), NUMBER_MAXIMUM)
            yield _counts(() if line.other is None else (line.other[0],), NUMBER_MAXIMUM)
        case SpentLine():
            yield _counts((line.spent_nano_usd,), NUMBER_MAXIMUM)
        case SumsLine():
            if line.minutes not in (1, QUARTER_MINUTES):
                yield f"sums of {line.minutes} minutes"
            yield from (_counts(sums[:5], COUNT_MAXIMUM) or _sums(sums[5]) for *_, sums in line.rows)
            yield _counts(line.failed_costs, NUMBER_MAXIMUM)
        case CostsLine():
            yield _counts((line.day,), DAY_MAXIMUM)
            yield from (_counts(row[4:6], NUMBER_MAXIMUM) or _counts(row[6:], COUNT_MAXIMUM) for row in line.rows)


def _rows(rows: tuple[tuple[int, int, int, int], ...]) -> str:
    if len(rows) > RECENT_ROWS_MAXIMUM:
        return f"{len(rows)} rows at one place"
    return _counts((number for _, *numbers in rows for number in numbers), COUNT_MAXIMUM)


def _sums(row: CountsRow) -> str:
    # All are counts, but for the sum of money in the middle.
    return (
        _counts((*row[:2], *row[5:9], *row[10:]), COUNT_MAXIMUM)
        or _counts((row[9],), NUMBER_MAXIMUM)
        or _counts(row[2].values(), COUNT_MAXIMUM)
        or _histogram(row[3])
        or _histogram(row[4])
        or ("" if row[1] <= row[0] else "more successes than attempts")
    )


def _histogram(row: HistogramRow) -> str:
    flat, *seconds = row
    if len(flat) % 2 or not all(0 <= bucket <= BUCKETS_MAXIMUM for bucket in flat[::2]):
        return "a duration of no length there is"
    return _counts((*flat[1::2], *seconds), COUNT_MAXIMUM)


def _counts(numbers: Iterable[float], highest: int) -> str:
    for number in numbers:
        if not 0 <= number <= highest:
            return f"the count {number:g}"
    return ""


def _first(found: Iterable[str]) -> str:
    return next((each for each in found if each), "")
