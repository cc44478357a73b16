"""How commands speak to a running sidecar: the options they share, the connection, and what a failed call ends in."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import click
import grpc

from turnout.client import Client
from turnout.connection import Connection, Tls, connect, resolve_address, tls_of
from turnout.errors import TransportError, TurnoutError, UnreachableError
from turnout.status import error_from_rpc
from turnout.v1 import admin_pb2_grpc
from turnout_server.commands.exits import Exit, Failure
from turnout_server.commands.numbers import MAX_SECONDS, FiniteRange

CALL_SECONDS = 5.0
"""How long a command that calls no provider waits for the sidecar."""

EPILOG = "\b\nExit codes: 0 ok, 1 the request failed, 2 wrong usage or address, 3 the sidecar cannot be reached."

Command = TypeVar("Command", bound=Callable[..., Any])

_TLS_MARKS = ("Socket closed", "handshake", "verification check")
"""What gRPC says where somebody is there and no connection comes about; it says so in no other way.

"Socket closed" where one side speaks TLS alone, or wants a certificate and gets none; "Tls handshake failed (…):
CERTIFICATE_VERIFY_FAILED"; "Failed to create security handshaker"; "Custom verification check failed with error: …".
"""

_KEPT = "turnout.access"
_ACCESS = (
    ("token_file", "FILE", "File with the bearer token; default TURNOUT_TOKEN_FILE, else TURNOUT_TOKEN."),
    ("ca_file", "FILE", "Speak TLS; the authorities (PEM) to trust; default TURNOUT_CA_FILE."),
    ("cert_file", "FILE", "Our certificate (PEM), for mutual TLS; default TURNOUT_CERT_FILE."),
    ("key_file", "FILE", "Its key (PEM); default TURNOUT_KEY_FILE."),
    ("server_name", "NAME", "What the sidecar's certificate says, where that is not the address's host."),
)


def _keep(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value:
        context.meta.setdefault(_KEPT, {})[parameter.name] = value


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
    *(
        # Kept beside the command's own options: what each of them does does not depend on how the sidecar is reached.
        click.option(
            f"--{name.replace('_', '-')}", name, metavar=metavar, expose_value=False, callback=_keep, help=description
        )
        for name, metavar, description in _ACCESS
    ),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
)


def sidecar_options(command: Command) -> Command:
    """Adds --address, --timeout, --json, and how to show who we are and to know the sidecar."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@contextlib.contextmanager
def calling(address: str | None) -> Iterator[Client]:
    """Yields a client; whatever a call fails with becomes one line and the right code."""
    # Whoever runs a command sees the failure at once and may run it again: no retries by itself.
    with _failures(address):
        access = _access(address)
        with Client(address, token_file=access.token_file, tls=access.tls, max_retry_count=0) as client:
            yield client


@contextlib.contextmanager
def calling_admin(address: str | None) -> Iterator[admin_pb2_grpc.AdminServiceStub]:
    """Yields the administrative service; failures as with `calling`."""
    with connecting(address) as connection, connection.channel() as channel:
        yield admin_pb2_grpc.AdminServiceStub(channel)


@contextlib.contextmanager
def connecting(address: str | None) -> Iterator[Connection]:
    """Yields the way to the sidecar, for commands that make a channel of their own; failures as with `calling`."""
    with _failures(address):
        access = _access(address)
        yield connect(address, os.environ, token_file=access.token_file, tls=access.tls)


def what_failed(error: TurnoutError, where: str) -> str:
    """Returns a failed call in words, in one line, for commands that go on after it; `where` is the address."""
    return _failure(error, where).message


@dataclass(frozen=True, slots=True, kw_only=True)
class _Access:
    """What the options say of how to show who we are; what is empty, the environment says."""

    token_file: str
    tls: Tls | None


def _access(address: str | None) -> _Access:
    """Reads the options. Raises ValueError for a file that cannot be read, and for TLS to a Unix socket."""
    context = click.get_current_context(silent=True)
    given: dict[str, str] = dict(context.meta.get(_KEPT, {})) if context is not None else {}
    token_file = given.pop("token_file", "")
    if not given:
        return _Access(token_file=token_file, tls=None)
    where = resolve_address(address, os.environ)
    if where.startswith("unix:"):
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        msg = f"{where} is a Unix socket, which has no TLS: leave {options} out"
        raise ValueError(msg)
    variables = {f"TURNOUT_{name.upper()}": value for name, value in given.items()}
    return _Access(token_file=token_file, tls=tls_of({**os.environ, **variables}))


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
        message = _one_line(error.message).removesuffix(": OK")
        cause = message.rpartition(": ")[2].removesuffix(".")
        if cause.count("]") > cause.count("["):
            cause = cause.removesuffix("]")
        question = "is it running there?"
        if any(mark in message for mark in _TLS_MARKS):
            question = "does it speak TLS (--ca-file), and do the certificates fit (--cert-file, --server-name)?"
        return Failure(f"cannot reach the sidecar at {where}: {cause}; {question}", Exit.UNREACHABLE)
    if error.code is grpc.StatusCode.DEADLINE_EXCEEDED and not error.reason:
        return Failure(f"the sidecar at {where} did not answer in time", Exit.UNREACHABLE)
    text = _one_line(str(error))
    if isinstance(error, TransportError):
        return Failure(f"the call to {where} failed: {text}", Exit.FAILED)
    if error.decision_id:
        text += f" [turnout explain {error.decision_id}]"
    return Failure(text, Exit.FAILED)


def _one_line(text: str) -> str:
    return " ".join(text.split())
