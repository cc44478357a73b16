"""`turnout budgets` against a real sidecar: what is shown, what is changed, and how a wrong wish ends."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.processes import configuration, run, serving, simulated

BUDGETS = """
budgets:
  - {name: monthly, limit_usd: 500, replicas: 4}
  - {name: users, scope: user, period: day, limit_usd: 2, on_exceed: downgrade, per_pod: true, timezone: Europe/Berlin}
"""


def test_budgets_are_shown_and_changed(tmp_path: Path) -> None:
    file = configuration(tmp_path, simulated({"north": "http://127.0.0.1:9"}) + BUDGETS)
    with serving(["serve", "-c", file]) as server:
        on = {"TURNOUT_ADDRESS": server.address}
        run("route", "--user", "ann", "--input-tokens", "1000", "--max-output-tokens", "100", env=on)
        shown = run("budgets", env=on)
        changed = run("budgets", "set", "users", "--limit-usd", "3.5", "--json", env=on)
        listed = json.loads(run("budgets", "--json", "--scope", "user", env=on).out)["budgets"]
        unknown = run("budgets", "set", "weekly", "--limit-usd", "1", env=on)
        nothing = run("budgets", "set", "users", env=on)

    assert [line.split()[:3] for line in shown.out.splitlines()] == [
        ["BUDGET", "OF", "PERIOD"],
        ["monthly", "global", "month"],
        ["users", "user", "ann"],
    ]
    assert "$125.00 ($500.00 / 4)" in shown.out
    assert "day (Europe/Berlin) $2.00 $0 $0.0012" in " ".join(shown.out.split())
    assert json.loads(changed.out)["limit_usd"] == 3.5
    assert [(one["name"], one["limit_usd"], one["spend"][0]["key"]) for one in listed] == [("users", 3.5, "ann")]
    assert unknown.code == 1
    assert unknown.err == "turnout: UNKNOWN_BUDGET: there is no budget 'weekly'; the budgets are: monthly, users\n"
    assert nothing.code == 2
