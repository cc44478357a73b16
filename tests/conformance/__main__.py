"""`make test-clients`: plays every case with the client of every language, and prints one table.

Exit codes: 0 nothing failed, 1 something did, 2 wrong usage. A client whose toolchain is missing has not failed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.conformance.cases import cases
from tests.conformance.languages import CLIENTS, languages
from tests.conformance.stage import PATIENCE_SECONDS
from tests.conformance.suite import run, table
from tests.conformance.values import CaseError


def main() -> int:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--client", action="append", default=[], help="only this language; may be repeated")
    parser.add_argument("--case", action="append", default=[], help="only this case; may be repeated")
    parser.add_argument("--clients", type=Path, default=CLIENTS, help="the folder that the clients are in")
    parser.add_argument("--jobs", type=int, default=2, help="clients at a time (2)")
    parser.add_argument("--patience", type=float, default=PATIENCE_SECONDS, help="seconds to wait for a reply (90)")
    parser.add_argument("--no-build", action="store_true", help="take the clients as they were built before")
    parser.add_argument("--no-own-tests", action="store_true", help="leave the clients' own tests out")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    given = parser.parse_args()
    try:
        all_cases, all_languages = cases(), languages(given.clients)
    except (CaseError, ValueError) as error:
        parser.error(str(error))
    chosen = [case for case in all_cases if not given.case or case.name in given.case]
    clients = [language for language in all_languages if not given.client or language.name in given.client]
    for wanted, known in ((given.case, [c.name for c in all_cases]), (given.client, [c.name for c in all_languages])):
        for name in wanted:
            if name not in known:
                parser.error(f"{name!r} is not known; there are {', '.join(known)}")
    if not clients:
        parser.error(f"no client below {given.clients} has a conformance/driver.json")
    own_tests = not (given.no_own_tests or given.case)
    outcomes = run(
        clients,
        chosen,
        jobs=given.jobs,
        own_tests=own_tests,
        build=not given.no_build,
        tell=_tell,
        patience_seconds=given.patience,
    )
    if given.json:
        sys.stdout.write(json.dumps([outcome.as_json() for outcome in outcomes], indent=2) + "\n")
    else:
        sys.stdout.write(table(outcomes, [case.name for case in chosen]) + "\n")
    return 0 if all(outcome.ok for outcome in outcomes) else 1


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
