"""`python -m bench.failover`: every fault through everybody who is installed, as tables; ten minutes at most."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from fnmatch import fnmatchcase
from pathlib import Path

from bench.failover.contender import After, Cell, Contender
from bench.failover.judging import Verdict, judged
from bench.failover.litellm import LiteLLM
from bench.failover.portkey import Portkey
from bench.failover.processes import MEMORY_LIMIT_MIB, Providers, memory_watched, peak_mib, providers_process
from bench.failover.report import Results, document, joined, sums_table, tables
from bench.failover.rows import HEAVY, QUICK, UNREACHED, Row, all_rows
from bench.failover.turnout import Turnout

AT_A_TIME = 8
RIVALS = {"LiteLLM": LiteLLM.found, "Portkey": Portkey.found}
SAID_LENGTH = 300


def main() -> None:
    """Plays, prints, and writes the document where asked."""
    parser = argparse.ArgumentParser(prog="python -m bench.failover", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="Turnout alone, and only faults that are over at once")
    parser.add_argument("--faults", default="*", help="names to play, as a pattern")
    parser.add_argument("--contenders", default="*", help="names to play, as a pattern")
    parser.add_argument("--write", type=Path, help="the document to write")
    parser.add_argument("--save", type=Path, help="where to keep the numbers, as JSON")
    parser.add_argument("--load", type=Path, nargs="+", help="numbers kept before, put together instead of playing")
    chosen = parser.parse_args()
    if chosen.load is not None:
        results = joined(Results.from_json(json.loads(file.read_text(encoding="utf-8"))) for file in chosen.load)
    else:
        rows = [row for row in all_rows(frozenset(QUICK) if chosen.quick else None) if _fits(row, chosen.faults)]
        contenders = [one for one in entered(quick=chosen.quick) if fnmatchcase(one.name, chosen.contenders)]
        results = asyncio.run(played(contenders, rows))
    if chosen.save is not None:
        chosen.save.write_text(json.dumps(asdict(results), indent=1), encoding="utf-8")
    _say(*tables(results), "", *sums_table(results))
    for absent in results.absent:
        _say("", f"{absent} is not installed here; `make bench-failover RIVALS=1` sets it up.")
    if chosen.write is not None:
        chosen.write.write_text(document(results), encoding="utf-8")


def entered(*, quick: bool) -> list[Contender]:
    """Returns whoever can take part."""
    contenders: list[Contender] = [Turnout(), Turnout(restarts=True)]
    if not quick:
        contenders += [one for found in RIVALS.values() if (one := found()) is not None]
    return contenders


async def played(contenders: Sequence[Contender], rows: Sequence[Row]) -> Results:
    """Plays every row through every contender, one contender at a time."""
    cells: list[Cell] = []
    after: list[After] = []
    configurations: dict[str, object] = {}
    async with AsyncExitStack() as stack:
        providers = stack.enter_context(providers_process())
        stack.push_async_callback(providers.aclose)
        for contender in contenders:
            theirs = [row for row in rows if contender.plays(row)]
            if not theirs:
                continue
            light = [row for row in theirs if row.fault.name not in HEAVY]
            # What is heavy slows others down, and not every process outlives it.
            alone = [[row] for row in theirs if row not in light]
            batches = [await _batch(contender, providers, batch) for batch in (light, *alone) if batch]
            found = {cell.row: cell for batch, _ in batches for cell in batch}
            cells += [found[row.key] for row in theirs]
            after += [replace(batches[0][1], peak_mib=max(one.peak_mib for _, one in batches))]
            configurations[contender.name] = contender.configuration(providers, theirs[:1])
            sys.stderr.write("\n")
    absent = [name for name, found in RIVALS.items() if found() is None]
    return Results(cells=cells, after=after, configurations=configurations, absent=absent)


async def _batch(contender: Contender, providers: Providers, rows: Sequence[Row]) -> tuple[list[Cell], After]:
    """Plays rows through one process, several at a time; returns their cells in order, and how it was afterwards."""
    at_a_time = asyncio.Semaphore(AT_A_TIME)

    async with contender.running(providers, rows) as running:
        with memory_watched(running.pid) as out_of_memory:
            told = await running.ask_well()
            if judged(told) is not Verdict.COMPLETE:
                raise RuntimeError(f"{contender.name} is not set up well: it cannot answer without any fault: {told}")

            async def one(row: Row) -> Cell:
                async with at_a_time:
                    told = await running.ask(row)
                counted = row.fault.name not in UNREACHED
                sys.stderr.write(f"\r{contender.name}: {row.key:40}")
                sys.stderr.flush()
                return Cell(
                    contender=contender.name,
                    row=row.key,
                    verdict=judged(told, out_of_memory=out_of_memory()).value,
                    seconds=told.seconds,
                    attempts=await providers.requests(row.place, f"{contender.case}-{row.key}") if counted else None,
                    said=(told.error or told.text)[:SAID_LENGTH],
                )

            cells = await asyncio.gather(*map(one, rows))
            peak = peak_mib(running.pid)
            told = await running.ask_well()
            after = After(
                contender=contender.name,
                verdict=judged(told, out_of_memory=out_of_memory()).value,
                seconds=told.seconds,
                peak_mib=max(peak, MEMORY_LIMIT_MIB if out_of_memory() else 0.0),
            )
    return cells, after


def _fits(row: Row, pattern: str) -> bool:
    return fnmatchcase(row.fault.name, pattern)


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
