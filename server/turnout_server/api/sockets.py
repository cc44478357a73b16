"""Where the server listens. Every way that binding can fail ends in one error with one clear line."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

CONNECT_SECONDS = 0.5
LOCK_SECONDS = 2.0
"""How long another process may hold the lock of a socket's directory. Whoever can read the directory can lock it, and
for good: neither a start nor a stop may hang for it."""
LOCK_AGAIN_SECONDS = 0.05
LONGEST_PATH_BYTES = 107
"""Of a Unix socket: 108 bytes with the zero at the end (unix(7)); on macOS four fewer."""


class ListenError(Exception):
    """An address or socket cannot be listened on. The message says which, why, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnixSocket:
    """A socket file: its path, its mode, and its group by name or number ("" leaves the process's own)."""

    path: str
    mode: int = 0o660
    group: str = ""


def split_address(address: str) -> tuple[str, int]:
    """Splits "host:port" or "[v6]:port". Raises ListenError for anything else."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004  # the largest port there is
        raise ListenError(f'cannot listen on "{address}": give host:port, such as 127.0.0.1:50151')
    return host.removeprefix("[").removesuffix("]"), int(port)


def reaches_beyond(address: str) -> bool:
    """Tells whether what listens there can be reached from other machines: a name counts as what it stands for.

    Raises ListenError where the host is not known.
    """
    return any(not ip_address(str(where[0]).partition("%")[0]).is_loopback for *_, where in _resolved(address))


def _resolved(address: str) -> list[Any]:
    host, port = split_address(address)
    try:
        return socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no host name"
        raise ListenError(f'cannot listen on "{address}": the host is not known ({reason})') from None


def check_free(address: str) -> None:
    """Raises ListenError when the address cannot be bound. gRPC itself would say so on stderr only, and not why.

    Of a name that stands for several addresses gRPC binds those that it can: where one is another process's, some of
    the callers would reach that.
    """
    faults = [_bind_fault(*found) for found in _resolved(address)]
    taken = next((fault for fault in faults if fault is not None and fault.errno == errno.EADDRINUSE), None)
    fault = taken or (faults[0] if all(faults) else None)
    if fault is not None:
        raise ListenError(f'cannot listen on "{address}": {_advice(fault)}')


def _bind_fault(family: int, kind: int, protocol: int, _: str, where: Any) -> OSError | None:
    try:
        with socket.socket(family, kind, protocol) as trial:
            # On Windows SO_REUSEADDR would take an address that is in use; there is an option against that instead.
            option: int = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
            trial.setsockopt(socket.SOL_SOCKET, option, 1)
            trial.bind(where)
    except OSError as error:
        return error
    return None


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
    length = len(os.fsencode(where.path))
    if length > LONGEST_PATH_BYTES:
        raise ListenError(
            f'cannot listen on socket "{where.path}": the path has {length} bytes, and systems take '
            f"{LONGEST_PATH_BYTES} at most; choose a shorter one"
        )
    with _locked_directory(where.path):
        _remove_dead(where.path)
        _check_bindable(where.path)
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
                os.chown(where.path, -1, _group_id(where.group))
            os.chmod(where.path, where.mode)  # noqa: PTH101  # a path of strings throughout
        except KeyError:
            raise ListenError(f'cannot listen on socket "{where.path}": there is no group "{where.group}"') from None
        except OSError as error:
            raise ListenError(
                f'cannot listen on socket "{where.path}": its mode or group cannot be set ({error.strerror})'
            ) from None


def _group_id(group: str) -> int:
    """Returns the number of a group. One given by number needs no name, as in containers. Raises KeyError."""
    import grp  # noqa: PLC0415 - Windows has none

    return int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid


def remove_unix(path: str) -> None:
    """Removes our own socket after the server has stopped, where gRPC has not; somebody else's is left alone."""
    if not os.path.lexists(path):  # a path of strings throughout
        return
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
        _lock(descriptor, lambda held: fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB), path)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, lock: Callable[[int], None], path: str) -> None:
    give_up_at = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            lock(descriptor)
        except BlockingIOError:
            if time.monotonic() >= give_up_at:
                raise ListenError(
                    f'cannot listen on socket "{path}": another process holds a lock on its directory; choose one of '
                    f"its own for the socket"
                ) from None
            time.sleep(LOCK_AGAIN_SECONDS)
        except OSError as error:
            raise ListenError(
                f'cannot listen on socket "{path}": its directory cannot be locked ({error.strerror})'
            ) from None
        else:
            return


def _check_bindable(path: str) -> None:
    """Raises ListenError when no socket can be made there. gRPC itself would say so on stderr only, and not why."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        try:
            trial.bind(path)
        except OSError as error:
            raise ListenError(
                f'cannot listen on socket "{path}": it cannot be made there ({error.strerror or error}); choose '
                f"another directory"
            ) from None
        os.unlink(path)  # noqa: PTH108  # a path of strings throughout


def _remove_dead(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise ListenError(f'cannot listen on socket "{path}": it cannot be looked at ({error.strerror})') from None
    if not stat.S_ISSOCK(mode):
        raise ListenError(f'cannot listen on socket "{path}": a file that is no socket is in the way; remove it')
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.settimeout(CONNECT_SECONDS)
        try:
            trial.connect(path)
        except ConnectionRefusedError:
            _unlink_dead(path)
            return
        except OSError as error:
            raise ListenError(f'cannot listen on socket "{path}": {error.strerror}; remove it if it is dead') from None
    raise ListenError(
        f'cannot listen on socket "{path}": another process listens there; stop it or choose another path'
    )


def _unlink_dead(path: str) -> None:
    try:
        os.unlink(path)  # noqa: PTH108  # a path of strings throughout
    except OSError as error:
        raise ListenError(
            f'cannot listen on socket "{path}": a dead socket is in the way and cannot be removed ({error.strerror}); '
            f"remove it"
        ) from None
