"""`python -m bench.decisions`: every trace through every contender, as tables; ten minutes of two idle cores."""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path

from bench.decisions.accounts import Account, account
from bench.decisions.aims import PEERS, findings
from bench.decisions.play import CONTENDERS, play
from bench.decisions.report import accounts_table, aims_table, document, missed, reasons
from bench.decisions.trace import Trace, all_traces

QUICK_SIDECARS, QUICK_SHARE = 1, 1 / 3
"""Of each trace: one sidecar, and the time of its first fault."""


def main() -> None:
    """Plays, prints, and writes the document where asked."""
    parser = argparse.ArgumentParser(prog="python -m bench.decisions", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a little of each trace: shows that it works")
    parser.add_argument("--traces", default="*", help="names to play, as a pattern")
    parser.add_argument("--contenders", default="*", help="names to play, as a pattern")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time")
    parser.add_argument("--write", type=Path, help="the document to write")
    parser.add_argument("--save", type=Path, help="where to keep the numbers, as JSON")
    parser.add_argument("--load", type=Path, help="numbers kept before, to be written again instead of playing")
    chosen = parser.parse_args()
    traces = [trace for trace in all_traces() if fnmatchcase(trace.name, chosen.traces)]
    if chosen.quick:
        traces = [trace.model_copy(update={"minutes": trace.minutes * QUICK_SHARE}) for trace in traces]
    contenders = [name for name in CONTENDERS if fnmatchcase(name, chosen.contenders)]
    began_at = time.monotonic()
    if chosen.load is not None:
        accounts = [Account(**one) for one in json.loads(chosen.load.read_text(encoding="utf-8"))]
    else:
        accounts = played(traces, contenders, sidecars=QUICK_SIDECARS if chosen.quick else None, jobs=chosen.jobs)
    if chosen.save is not None:
        chosen.save.write_text(json.dumps([asdict(one) for one in accounts], indent=1), encoding="utf-8")
    found = list(findings(traces, accounts))
    for trace in traces:
        rows = accounts_table(one for one in accounts if one.trace == trace.name)
        _say("", f"## {trace.name}", "", *rows)
    _say("", "## aims", "", *aims_table(found), "", "## missed", "", *missed(found, reasons()))
    _say("", f"{sum(one.calls for one in accounts):,} calls in {time.monotonic() - began_at:.0f} s")
    if chosen.write is not None:
        chosen.write.write_text(document(traces, accounts, found), encoding="utf-8")


def played(traces: list[Trace], contenders: list[str], *, sidecars: int | None, jobs: int) -> list[Account]:
    """Plays every trace through every contender, so many at a time; returns their accounts in that order."""
    wanted = [(trace, contender) for trace in traces for contender in contenders]
    longest_first = sorted(wanted, key=lambda one: (one[1] not in PEERS, -one[0].minutes))
    accounts: dict[tuple[str, str], Account] = {}
    with ProcessPoolExecutor(jobs) as pool:
        running = [pool.submit(_one, trace, contender, sidecars) for trace, contender in longest_first]
        for done in as_completed(running):
            one = done.result()
            accounts[one.trace, one.contender] = one
            sys.stderr.write(f"\r{len(accounts)} of {len(wanted)} played ")
            sys.stderr.flush()
    return [accounts[trace.name, contender] for trace, contender in wanted]


def _one(trace: Trace, contender: str, sidecars: int | None) -> Account:
    # Calls leave much behind at once; looking for circles in it again and again takes a tenth of the time.
    gc.set_threshold(100_000)
    return account(play(trace, contender, sidecars=sidecars))


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
