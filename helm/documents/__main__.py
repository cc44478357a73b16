"""`python -m helm.documents` (`make generate`) writes what charts have of the product and of their own values anew.

With `--check` (`make drift`) it writes nothing and fails where they are not what the sources make.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from helm.documents.alerts_template import alerts_template
from helm.documents.dashboards import dashboard_json, document, read_dashboards
from helm.documents.read_at_start import read_at_start
from helm.documents.readme import readme
from helm.documents.values_file import read_values
from helm.documents.values_schema import DECIDED_BY_SIDECAR, values_schema
from turnout_server.config.describe import json_schema

HERE = Path(__file__).parent
CHART = HERE.parent / "turnout"
SIDECAR_CHART = HERE.parent / "turnout-sidecar"


def main() -> None:
    """Writes or compares; ends with 1 and the names of what differs."""
    parser = argparse.ArgumentParser(prog="python -m helm.documents", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail where something differs")
    check = parser.parse_args().check
    stale = [file for file, text in made() if not file.exists() or file.read_text() != text]
    if check and stale:
        names = ", ".join(str(file.relative_to(HERE.parents[1])) for file in stale)
        sys.exit(f"not in step with values.yaml or the product's schema: {names}; run 'make generate'")
    if not check:
        for file, text in made():
            file.write_text(text)


def made() -> Iterator[tuple[Path, str]]:
    """Yields each generated file and what it should hold."""
    values = read_values((CHART / "values.yaml").read_text())
    written = yaml.safe_load((HERE / "turnout.schema.yaml").read_text())
    alerts_text = (CHART / "files/alerts.yaml").read_text()
    alerts = [alert["alert"] for alert in yaml.safe_load(alerts_text)]
    yield CHART / "values.schema.json", values_schema(written, json_schema(), values, alerts)
    yield CHART / "README.md", readme((HERE / "turnout.md").read_text(), values)
    yield CHART / "files/read-at-start.txt", read_at_start()
    dashboards = read_dashboards()
    for dashboard in dashboards:
        yield CHART / "files/dashboards" / f"{dashboard.name}.json", dashboard_json(dashboard)
    yield HERE.parents[1] / "docs/dashboards.md", document((HERE / "dashboards.md").read_text(), dashboards)
    of_sidecar = read_values((SIDECAR_CHART / "values.yaml").read_text())
    sidecar = {**yaml.safe_load((HERE / "turnout-sidecar.schema.yaml").read_text()), "$defs": written["$defs"]}
    schema = values_schema(
        sidecar, json_schema(), of_sidecar, alerts, chart="turnout-sidecar", decided=DECIDED_BY_SIDECAR
    )
    yield SIDECAR_CHART / "templates/_alerts.tpl", alerts_template(alerts_text)
    yield SIDECAR_CHART / "values.schema.json", schema
    yield SIDECAR_CHART / "README.md", readme((HERE / "turnout-sidecar.md").read_text(), of_sidecar)


if __name__ == "__main__":
    main()
