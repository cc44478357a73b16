"""Names of providers and targets on the command line: completed by asking the sidecar, and set right where mistyped."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from turnout.answer import target_name
from turnout.errors import NotFoundError
from turnout_server.commands.exits import Exit, Failure
from turnout_server.commands.sidecar import CALL_SECONDS, calling
from turnout_server.config.faults import nearest

if TYPE_CHECKING:
    from turnout.client import Client

COMPLETION_SECONDS = 1.0
"""Somebody waits at a prompt: a sidecar that does not answer by then has no names."""


class NameArgument(click.Argument):
    """An argument that names a provider, a model or a target of the sidecar."""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Returns the names of the sidecar that --address or TURNOUT_ADDRESS leads to; none where it does not."""
        given: object = ctx.params.get(self.name or "")
        taken: tuple[str, ...] = tuple(given) if isinstance(given, list | tuple) else ()
        try:
            with calling(ctx.params.get("address")) as client:
                names = known_names(client, COMPLETION_SECONDS)
        except click.ClickException:
            return []
        return [CompletionItem(name) for name in names if name.startswith(incomplete) and name not in taken]


def known_names(client: Client, timeout_seconds: float | None) -> Sequence[str]:
    """Returns the names of all providers and targets, and those that models with several endpoints have together."""
    names: dict[str, None] = {}
    for provider in client.status(timeout_seconds=timeout_seconds).providers:
        names[provider.provider] = None
        for state in provider.targets:
            names[f"{state.target.provider}/{state.target.model}"] = None
            names[target_name(state.target)] = None
    return list(names)


@contextlib.contextmanager
def suggesting(name: str, client: Client, timeout_seconds: float | None) -> Iterator[None]:
    """Ends a command for a name that the sidecar does not have with the name that was probably meant."""
    try:
        yield
    except NotFoundError as error:
        near = nearest(name, known_names(client, timeout_seconds or CALL_SECONDS))
        hint = f'; did you mean "{near}"?' if near else "; `turnout status` lists what there is"
        kind = "target" if "/" in name else "provider"
        message = f'there is no {kind} "{name}"{hint}'
        raise Failure(message, Exit.FAILED) from error
