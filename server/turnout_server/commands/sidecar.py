"""How commands speak to a running sidecar: the options they share, the connection, and what a failed call ends in."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click
import grpc

from turnout.client import Client
from turnout.connection import Connection, resolve_address
from turnout.errors import TransportError, TurnoutError, UnreachableError
from turnout.status import error_from_rpc
from turnout.v1 import admin_pb2_grpc
from turnout_server.commands.exits import Exit, Failure
from turnout_server.commands.numbers import MAX_SECONDS, FiniteRange

CALL_SECONDS = 5.0
"""How long a command that calls no provider waits for the sidecar."""

EPILOG = "\b\nExit codes: 0 ok, 1 the request failed, 2 wrong usage or address, 3 the sidecar cannot be reached."

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--address",
        envvar="TURNOUT_ADDRESS",
        metavar="HOST:PORT|unix:PATH",
        help="The sidecar; default TURNOUT_ADDRESS, else 127.0.0.1:50151.",
    ),
    click.option(
        "--timeout",
        "timeout_seconds",
        type=FiniteRange(min=0.001, max=MAX_SECONDS),
        metavar="SECONDS",
        help="For the whole call.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
)


def sidecar_options(command: Command) -> Command:
    """Adds --address, --timeout and --json."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@contextlib.contextmanager
def calling(address: str | None) -> Iterator[Client]:
    """Yields a client; whatever a call fails with becomes one line and the right code."""
    # Whoever runs a command sees the failure at once and may run it again: no retries by itself.
    with _failures(address), Client(address, max_retry_count=0) as client:
        yield client


@contextlib.contextmanager
def calling_admin(address: str | None) -> Iterator[admin_pb2_grpc.AdminServiceStub]:
    """Yields the administrative service; failures as with `calling`."""
    with _failures(address):
        connection = Connection(address=resolve_address(address, os.environ))
        with grpc.insecure_channel(connection.address, connection.options) as channel:
            yield admin_pb2_grpc.AdminServiceStub(channel)


@contextlib.contextmanager
def _failures(address: str | None) -> Iterator[None]:
    where = resolve_address(address, os.environ)
    try:
        yield
    except UnicodeError:
        # A ValueError too, but about a text, not about an address: whoever ends the command says so.
        raise
    except ValueError as error:
        raise Failure(str(error), Exit.USAGE) from None
    except grpc.RpcError as error:
        raise _failure(error_from_rpc(error), where) from None
    except TurnoutError as error:
        raise _failure(error, where) from None


def _failure(error: TurnoutError, where: str) -> Failure:
    if isinstance(error, UnreachableError):
        # gRPC puts the cause last, behind several layers of its own; a layer in brackets leaves its end behind.
        cause = _one_line(error.message).rpartition(": ")[2]
        if cause.count("]") > cause.count("["):
            cause = cause.removesuffix("]")
        return Failure(f"cannot reach the sidecar at {where}: {cause}; is it running there?", Exit.UNREACHABLE)
    if error.code is grpc.StatusCode.DEADLINE_EXCEEDED and not error.reason:
        return Failure(f"the sidecar at {where} did not answer in time", Exit.UNREACHABLE)
    text = _one_line(str(error))
    if isinstance(error, TransportError):
        return Failure(f"the call to {where} failed: {text}", Exit.FAILED)
    if error.retry_after_seconds:
        text += f" (try again in {error.retry_after_seconds:.1f} s)"
    if error.decision_id:
        text += f" [turnout explain {error.decision_id}]"
    return Failure(text, Exit.FAILED)


def _one_line(text: str) -> str:
    return " ".join(text.split())
