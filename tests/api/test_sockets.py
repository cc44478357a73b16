"""Listening: dead sockets go, live ones and files stay, and every failure is one clear error."""

import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from turnout_server.api.sockets import ListenError, UnixSocket, bind_unix, check_free, remove_unix, split_address


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


def test_an_address_of_another_machine_is_told() -> None:
    with pytest.raises(ListenError, match="no such address"):
        check_free("192.0.2.1:50151")


@pytest.mark.parametrize("address", ["50151", "localhost", "localhost:", "localhost:http", "localhost:99999"])
def test_what_is_no_address_is_told(address: str) -> None:
    with pytest.raises(ListenError, match="host:port"):
        split_address(address)


def test_a_v6_address_is_split_at_its_last_colon() -> None:
    assert split_address("[::1]:50151") == ("::1", 50151)
