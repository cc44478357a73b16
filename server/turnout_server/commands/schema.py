"""`turnout schema`: the JSON schema of the configuration for editors, or its documentation for people."""

from __future__ import annotations

import json

import click

from turnout_server.config.describe import json_schema
from turnout_server.config.document import markdown


@click.command("schema")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print docs/configuration.md instead.")
@click.option("--json", "as_json", is_flag=True, help="No effect: the schema is JSON either way.")
def schema(*, as_markdown: bool, as_json: bool) -> None:
    """Print the JSON schema of the configuration file."""
    del as_json
    click.echo(markdown(), nl=False) if as_markdown else click.echo(json.dumps(json_schema(), indent=2))
