"""`turnout completion`: the script that lets a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")
COMPLETE_VARIABLE = "_TURNOUT_COMPLETE"

_EPILOG = """\
\b
Once for all sessions:
  bash  turnout completion bash > ~/.local/share/bash-completion/completions/turnout
  zsh   turnout completion zsh > "${fpath[1]}/_turnout"
  fish  turnout completion fish > ~/.config/fish/completions/turnout.fish
For this session: eval "$(turnout completion bash)"
"""


@click.command("completion", epilog=_EPILOG)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, *, shell: str) -> None:
    """Print the completion script for SHELL. Needs bash 4.4 or newer."""
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"there is no completion for {shell}")
    root = context.find_root()
    # The base class's source: bash's own looks for a bash to ask its version, and the script may be for elsewhere.
    script = found(root.command, {}, "turnout", COMPLETE_VARIABLE)
    click.echo(script.source_template % script.source_vars())
