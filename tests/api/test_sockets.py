"""Listening: dead sockets go, live ones and files stay, and every failure is one clear error."""

import dataclasses
import fcntl
import grp
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.api.sidecar import LOCAL, running
from turnout_server.api import sockets
from turnout_server.api.sockets import (
    ListenError,
    UnixSocket,
    bind_unix,
    check_free,
    reaches_beyond,
    remove_unix,
    split_address,
)


def listening(path: str) -> socket.socket:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(path)
    server.listen()
    return server


def binder(held: list[socket.socket]) -> Callable[[str], object]:
    return lambda path: held.append(listening(path))


def test_a_dead_socket_is_removed_and_bound_anew(tmp_path: Path) -> None:
    path = str(tmp_path / "t.sock")
    listening(path).close()
    held: list[socket.socket] = []
    bind_unix(UnixSocket(path=path), binder(held))

    assert held
    held[0].close()


def test_a_live_socket_is_never_taken_over(tmp_path: Path) -> None:
    path = str(tmp_path / "t.sock")
    with listening(path):
        before = Path(path).stat().st_ino
        with pytest.raises(ListenError, match="another process listens there"):
            bind_unix(UnixSocket(path=path), binder([]))

        assert before == Path(path).stat().st_ino


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "t.sock"
    path.write_text("precious")
    with pytest.raises(ListenError, match="no socket"):
        bind_unix(UnixSocket(path=str(path)), binder([]))

    assert path.read_text() == "precious"


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_the_socket_gets_its_mode(tmp_path: Path, mode: int) -> None:
    path = str(tmp_path / "t.sock")
    held: list[socket.socket] = []
    bind_unix(UnixSocket(path=path, mode=mode), binder(held))

    assert mode == stat.S_IMODE(Path(path).stat().st_mode)
    held[0].close()


def test_an_unknown_group_is_told_by_name(tmp_path: Path) -> None:
    held: list[socket.socket] = []
    with pytest.raises(ListenError, match='no group "nobody-at-all"'):
        bind_unix(UnixSocket(path=str(tmp_path / "t.sock"), group="nobody-at-all"), binder(held))
    held[0].close()


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(ListenError, match="directory"):
        bind_unix(UnixSocket(path=str(tmp_path / "none" / "t.sock")), binder([]))


def test_removing_leaves_a_live_socket_of_somebody_else(tmp_path: Path) -> None:
    path = str(tmp_path / "t.sock")
    with listening(path):
        remove_unix(path)

        assert Path(path).exists()


def test_a_taken_port_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        with pytest.raises(ListenError, match="another process listens there"):
            check_free(address)


def stands_for(*addresses: str) -> Callable[..., list[tuple[object, ...]]]:
    """A resolver in whose words every name stands for these: of a machine's own only localhost can be relied on."""

    def resolve(_host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    return resolve


@pytest.mark.parametrize("taken_host", ["127.0.0.1", "127.0.0.9"])
def test_a_port_that_is_taken_at_one_address_of_a_name_is_told(
    monkeypatch: pytest.MonkeyPatch, taken_host: str
) -> None:
    # gRPC would listen at the other one alone, and some callers would reach whoever has this one.
    monkeypatch.setattr(socket, "getaddrinfo", stands_for("127.0.0.1", "127.0.0.9"))
    with socket.socket() as taken:
        taken.bind((taken_host, 0))
        taken.listen()
        with pytest.raises(ListenError, match="another process listens there"):
            check_free(f"sidecar.example:{taken.getsockname()[1]}")


def test_a_name_with_one_address_that_this_machine_has_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    # As where localhost is ::1 too, and the machine has no IPv6: gRPC listens at the rest.
    monkeypatch.setattr(socket, "getaddrinfo", stands_for("192.0.2.1", "127.0.0.1"))

    check_free("sidecar.example:0")


def test_an_address_of_another_machine_is_told() -> None:
    with pytest.raises(ListenError, match="no such address"):
        check_free("192.0.2.1:50151")


@pytest.mark.parametrize("address", ["50151", "localhost", "localhost:", "localhost:http", "localhost:99999"])
def test_what_is_no_address_is_told(address: str) -> None:
    with pytest.raises(ListenError, match="host:port"):
        split_address(address)


def test_a_v6_address_is_split_at_its_last_colon() -> None:
    assert split_address("[::1]:50151") == ("::1", 50151)


def own_group() -> grp.struct_group:
    return grp.getgrgid(os.getgid())


@pytest.mark.parametrize(
    "group", [lambda: own_group().gr_name, lambda: str(own_group().gr_gid)], ids=["name", "number"]
)
def test_the_socket_gets_its_group(tmp_path: Path, group: Callable[[], str]) -> None:
    path = tmp_path / "t.sock"
    held: list[socket.socket] = []
    bind_unix(UnixSocket(path=str(path), group=group()), binder(held))

    assert path.stat().st_gid == own_group().gr_gid
    held[0].close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a socket to a group that it is not in")
def test_a_group_by_number_needs_no_name(tmp_path: Path) -> None:
    path = tmp_path / "t.sock"
    held: list[socket.socket] = []
    bind_unix(UnixSocket(path=str(path), group="45678"), binder(held))

    assert path.stat().st_gid == 45678
    held[0].close()


def test_a_path_that_is_too_long_is_told_with_the_limit(tmp_path: Path) -> None:
    path = str(tmp_path / ("x" * 108))
    with pytest.raises(ListenError, match=f"the path has {len(path)} bytes, and systems take 107 at most"):
        bind_unix(UnixSocket(path=path), binder([]))


UNWRITABLE = """
import fcntl, os, sys
from turnout_server.api.sockets import ListenError, UnixSocket, bind_unix
if os.geteuid() == 0:
    # All that is needed is imported: nobody else may read what stands in root's folder.
    os.setgid(65534)
    os.setuid(65534)
try:
    bind_unix(UnixSocket(path=sys.argv[1]), lambda path: None)
except ListenError as error:
    print(error)
"""


def test_a_folder_that_this_user_may_not_write_to_is_told() -> None:
    # In a process of its own, since root may write anywhere, and has to become somebody else.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o555)
        command = [sys.executable, "-c", UNWRITABLE, f"{folder}/t.sock"]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()  # noqa: S603

    assert len(told) == 1
    assert told[0].startswith(f'cannot listen on socket "{folder}/t.sock": it cannot be made there (Permission denied)')


def test_a_dead_socket_that_this_user_may_not_remove_is_told() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        path = Path(folder) / "t.sock"
        listening(str(path)).close()
        path.chmod(0o666)
        Path(folder).chmod(0o555)
        command = [sys.executable, "-c", UNWRITABLE, str(path)]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()  # noqa: S603

    assert len(told) == 1
    assert "a dead socket is in the way and cannot be removed (Permission denied); remove it" in told[0]


def test_a_directory_that_somebody_else_has_locked_ends_the_start_and_never_holds_up_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "LOCK_SECONDS", 0.01)
    path = str(tmp_path / "t.sock")
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(ListenError, match="another process holds a lock on its directory"):
        bind_unix(UnixSocket(path=path), binder([]))
    remove_unix(path)
    os.close(descriptor)

    held: list[socket.socket] = []
    bind_unix(UnixSocket(path=path), binder(held))
    held[0].close()


@pytest.mark.parametrize("address", ["127.0.0.1:0", "127.8.9.10:0", "localhost:0", "[::1]:0"])
def test_what_only_this_machine_reaches_stays_on_it(address: str) -> None:
    assert not reaches_beyond(address)


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", ":0", "192.0.2.1:0", "10.0.0.1:0", "[2001:db8::1]:0"])
def test_what_others_may_reach_reaches_beyond(address: str) -> None:
    assert reaches_beyond(address)


def test_a_name_counts_as_what_it_stands_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", stands_for("127.0.0.1", "10.0.0.7"))

    assert reaches_beyond("localhost:0")


def test_a_host_that_is_not_known_is_told() -> None:
    with pytest.raises(ListenError, match="the host is not known"):
        reaches_beyond("no-such-host.invalid:0")


async def test_the_server_itself_refuses_to_reach_beyond_this_machine_in_the_clear() -> None:
    with pytest.raises(ListenError, match=r"reaches beyond this machine without TLS; set listen\.tls"):
        async with running(settings=dataclasses.replace(LOCAL, address="0.0.0.0:0")):
            raise AssertionError("it serves")
