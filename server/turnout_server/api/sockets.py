"""Where the server listens. Every way that binding can fail ends in one error with one clear line."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

CONNECT_SECONDS = 0.5


class ListenError(Exception):
    """An address or socket cannot be listened on. The message says which, why, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnixSocket:
    """A socket file: its path, its mode, and the name of its group ("" leaves the process's own)."""

    path: str
    mode: int = 0o660
    group: str = ""


def split_address(address: str) -> tuple[str, int]:
    """Splits "host:port" or "[v6]:port". Raises ListenError for anything else."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004  # the largest port there is
        raise ListenError(f'cannot listen on "{address}": give host:port, such as 127.0.0.1:50151')
    return host.removeprefix("[").removesuffix("]"), int(port)


def check_free(address: str) -> None:
    """Raises ListenError when the address cannot be bound. gRPC itself would say so on stderr only, and not why."""
    host, port = split_address(address)
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ListenError(f'cannot listen on "{address}": the host is not known ({error.strerror})') from None
    family, kind, protocol, _, where = found[0]
    with socket.socket(family, kind, protocol) as trial:
        # On Windows SO_REUSEADDR would take an address that is in use; there is an option against that instead.
        option: int = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
        trial.setsockopt(socket.SOL_SOCKET, option, 1)
        try:
            trial.bind(where)
        except OSError as error:
            raise ListenError(f'cannot listen on "{address}": {_advice(error)}') from None


def _advice(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "another process listens there; stop it or choose another port"
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address; 127.0.0.1 and 0.0.0.0 always work"
        case errno.EACCES:
            return "this user may not use that port; choose one above 1023"
        case _:
            return f"{error.strerror}; choose another address"


def bind_unix(where: UnixSocket, bind: Callable[[str], object]) -> None:
    """Calls `bind` with the path once nobody else listens there, and gives the socket its mode and group.

    A dead socket is removed; a live one, or a file that is no socket, is never touched. The directory is locked
    meanwhile, so that of two processes that start at once one sees the other.
    """
    with _locked_directory(where.path):
        _remove_dead(where.path)
        # Nobody may connect between bind and chmod.
        before = os.umask(0o177)
        try:
            bind(where.path)
        except (OSError, RuntimeError) as error:
            raise ListenError(f'cannot listen on socket "{where.path}": {error}') from None
        finally:
            os.umask(before)
        try:
            if where.group:
                import grp  # noqa: PLC0415 - Windows has none

                os.chown(where.path, -1, grp.getgrnam(where.group).gr_gid)
            os.chmod(where.path, where.mode)  # noqa: PTH101  # a path of strings throughout
        except KeyError:
            raise ListenError(f'cannot listen on socket "{where.path}": there is no group "{where.group}"') from None
        except OSError as error:
            raise ListenError(
                f'cannot listen on socket "{where.path}": its mode or group cannot be set ({error.strerror})'
            ) from None


def remove_unix(path: str) -> None:
    """Removes our own socket after the server has stopped, where gRPC has not; somebody else's is left alone."""
    with contextlib.suppress(OSError, ListenError), _locked_directory(path):
        _remove_dead(path)


@contextlib.contextmanager
def _locked_directory(path: str) -> Iterator[None]:
    try:
        import fcntl  # noqa: PLC0415 - Windows has none
    except ImportError:
        raise ListenError(
            f'cannot listen on socket "{path}": this platform has no Unix sockets; set listen.address instead'
        ) from None
    directory = os.path.dirname(path) or "."  # noqa: PTH120  # a path of strings throughout
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError as error:
        raise ListenError(
            f'cannot listen on socket "{path}": its directory cannot be opened ({error.strerror}); create it first'
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_dead(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ListenError(f'cannot listen on socket "{path}": a file that is no socket is in the way; remove it')
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.settimeout(CONNECT_SECONDS)
        try:
            trial.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)  # noqa: PTH108  # a path of strings throughout
            return
        except OSError as error:
            raise ListenError(f'cannot listen on socket "{path}": {error.strerror}; remove it if it is dead') from None
    raise ListenError(
        f'cannot listen on socket "{path}": another process listens there; stop it or choose another path'
    )
