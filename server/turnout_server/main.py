"""The command line. A command is imported when it is called, so that `turnout serve` loads only what it needs."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from types import MappingProxyType

import click
from click.shell_completion import CompletionItem

from turnout_server.commands.exits import EXITS_TEXT, Exit, Failure

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "serve": "Start the sidecar.",
        "check": "Validate a configuration without starting.",
        "models": "List the models known by name.",
        "tables": "Show which targets come first for each task and tier.",
        "schema": "Print the JSON schema of the configuration.",
        "status": "Show providers and targets of a running sidecar.",
        "top": "Watch a running sidecar, live.",
        "route": "Ask a running sidecar for a decision.",
        "ask": "Send a prompt through a running sidecar.",
        "decisions": "List the latest decisions.",
        "explain": "Show everything about one decision.",
        "shadow": "Show what shadow policies would have chosen otherwise.",
        "statistics": "Show sums over past decisions.",
        "compare": "Show what was measured of several targets, side by side.",
        "trend": "Show one measure of a target or a provider over time.",
        "forget": "Forget past decisions and the sums over them.",
        "events": "List what has happened, or follow it.",
        "drain": "Have targets or providers get no new calls.",
        "undrain": "Have what was drained get calls again.",
        "reset": "Forget what is held against targets.",
        "providers": "Add, change, remove, drain, reset or check providers.",
        "strategy": "Show how candidates are ranked, or change it.",
        "costs": "Show what was spent, by model, task, tenant and more.",
        "budgets": "Show what is spent of budgets; add, change or delete one.",
        "state": "Carry what a sidecar has learned and spent to another one.",
        "demo": "Show the product at work, with no key and no network.",
        "sim": "Start the simulated providers alone.",
        "completion": "Print the completion script of a shell.",
    }
)
"""Every command and its line in the overview; the module of its name in `commands` has the rest."""


class LazyGroup(click.Group):
    """Finds commands by name and imports only the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names, in the order of the overview."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports a command; None where there is no such."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        # Read by gRPC when it is loaded. It writes lines of its own on stderr for each handshake that fails, which
        # anybody can make, between those of a sidecar's log; and what fails in a command is said in one line.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        module = importlib.import_module(f"turnout_server.commands.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Completes a command's name without importing any; options as ever."""
        found = [CompletionItem(name, help=line) for name, line in COMMANDS.items() if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the overview without importing anything."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]}, epilog=f"\b\nExit codes:\n{EXITS_TEXT}"
)
@click.version_option(package_name="turnout", prog_name="turnout")
def cli() -> None:
    """Turnout routes LLM requests: a sidecar that picks the target, fails over, and says why."""


def main() -> None:
    """Runs the command line and ends the process with the documented code."""
    try:
        code = cli.main(prog_name="turnout", standalone_mode=False)
    except Failure as error:
        error.show()
        sys.exit(error.code)
    except click.UsageError as error:
        error.show()
        sys.exit(Exit.USAGE)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except UnicodeError:
        click.echo("turnout: what was given is not UTF-8 text", err=True)
        sys.exit(Exit.USAGE)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(Exit.INTERRUPTED)
    except BrokenPipeError:
        # Whoever read the output has gone, which is theirs to do: `turnout decisions | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(Exit.OK)
    sys.exit(code if isinstance(code, int) else Exit.OK)


if __name__ == "__main__":
    main()
